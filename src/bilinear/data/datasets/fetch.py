"""Public data sets by name: fetched once, checked, unpacked into a cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bilinear.errors import DownloadError, ParameterValueError

BASE_URL = "https://files.grouplens.org/datasets/movielens/"
CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)
_RESEARCH = "GroupLens: for research, not for commercial use; acknowledge it; conditions in the README inside"
_NOT_TO_BE_PASSED_ON = f"{_RESEARCH}; not to be passed on without permission"

_UNPACKED_TO_PACKED = 20  # the archives unpack to 3.4 to 4.5 times their size
_SMALL = 1 << 26


@dataclass(frozen=True)
class Dataset:
    """One published archive.

    Attributes:
        name: as `fetch` takes it.
        title, licence, citation: for people.
        archive: the file's name; it unpacks to a folder of the same name without ".zip".
        ratings_file, items_file: inside that folder.
        size: bytes of the archive when this table was made.
        md5: of the archive; None where GroupLens may rebuild it at any time, so that the
            checksum has to be read from the .md5 file beside it.
    """

    name: str
    title: str
    archive: str
    ratings_file: str
    items_file: str
    size: int
    md5: str | None
    licence: str
    citation: str = CITATION

    @property
    def url(self) -> str:
        """Address of the archive at GroupLens."""
        return BASE_URL + self.archive

    @property
    def folder(self) -> str:
        """Name of the folder in the archive, such as ml-100k; `fetch` takes it as a name too."""
        return self.archive.removesuffix(".zip")


_DATASETS = (
    Dataset(
        "movielens-latest-small",
        "100,836 ratings by 610 users, 9,742 films listed, half stars, 1996-2018; may change over time",
        "ml-latest-small.zip",
        "ratings.csv",
        "movies.csv",
        978_202,
        None,
        _RESEARCH,
    ),
    Dataset(
        "movielens-100k",
        "100,000 ratings by 943 users, 1,682 films listed, whole stars, 1997-1998",
        "ml-100k.zip",
        "u.data",
        "u.item",
        4_924_029,
        "0e33842e24a9c977be4e0107933c0723",
        _NOT_TO_BE_PASSED_ON,
    ),
    Dataset(
        "movielens-1m",
        "1,000,209 ratings by 6,040 users, 3,883 films listed, whole stars, 2000-2003",
        "ml-1m.zip",
        "ratings.dat",
        "movies.dat",
        5_917_549,
        "c4d9eecfca2ab87c1945afe126590906",
        _NOT_TO_BE_PASSED_ON,
    ),
    Dataset(
        "movielens-25m",
        "25,000,095 ratings by 162,541 users, 62,423 films listed, half stars, 1995-2019",
        "ml-25m.zip",
        "ratings.csv",
        "movies.csv",
        261_978_986,
        "6b51fb2759a8657d3bfcbfc42b592ada",
        _RESEARCH,
    ),
    Dataset(
        "movielens-32m",
        "32,000,204 ratings by 200,948 users, 87,585 films listed, half stars, 1995-2023",
        "ml-32m.zip",
        "ratings.csv",
        "movies.csv",
        238_950_008,
        "d472be332d4daa821edc399621853b57",
        _RESEARCH,
    ),
)


def available() -> tuple[Dataset, ...]:
    """The data sets that `fetch` knows, by growing number of ratings."""
    return _DATASETS


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    base_url: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    force: bool = False,
    timeout: float = 30.0,
) -> Path:
    """Fetch, check and unpack a public data set; returns the folder with its files.

    What is there already is checked against the CRCs noted when it was unpacked, and reused. An
    archive that was placed in `folder` by hand is used instead of the network, and kept.
    An interrupted transfer, Ctrl-C included, is continued by the next call.

    The archive must have the MD5 checksum of the table here or, for movielens-latest-small, which
    may change, of the .md5 file that the same server publishes beside it: that one shows damage,
    not tampering. MD5 is what GroupLens publishes.

    Args:
        name: one of `available()`, or the short name of its archive: "ml-100k", "ml-1m", "ml-latest-small".
        folder: where archives and data are kept; by default `cache_folder()`.
        base_url: a mirror; by default $BILINEAR_DATASETS_URL, else GroupLens.
        progress: called with (bytes done, bytes in all or None if unknown) while fetching.
        force: fetch and unpack again, and replace what is there once the new data is whole.
        timeout: seconds without a byte after which an attempt has failed; there are four.
    Raises:
        DownloadError: no network, no such file, wrong checksum, damaged or unsafe archive, or
            damaged data. What was there before is still there.
        ParameterValueError: an unknown name, or a base_url that is not http.
    Cost:
        the archive, and about four times its size unpacked; the archive is deleted afterwards.

    Examples:
        >>> import bilinear
        >>> bilinear.fetch("movielens-tiny")
        Traceback (most recent call last):
            ...
        bilinear.errors.ParameterValueError: no data set 'movielens-tiny'; choose ...
    """
    from bilinear.data.datasets.unpack import check_unpacked, unpack

    dataset, home = find(name), _home(folder)
    base = base_url or os.environ.get("BILINEAR_DATASETS_URL") or BASE_URL
    if not base.startswith(("https://", "http://")):
        raise ParameterValueError(f"base_url={base!r}; give an address that starts with https:// or http://")
    url = f"{base.rstrip('/')}/{dataset.archive}"
    target, archive = home / dataset.folder, home / dataset.archive
    if target.exists() and not force:
        check_unpacked(target)
        return target
    by_hand = archive.exists() and not force
    try:
        home.mkdir(parents=True, exist_ok=True)
        if by_hand:
            _check_placed(dataset, archive)
        else:
            _download(dataset, url, archive, progress, timeout)
        unpack(
            archive,
            target,
            needed=(dataset.ratings_file, dataset.items_file),
            limit=_SMALL + _UNPACKED_TO_PACKED * dataset.size,
            replace=force,
        )
        if not by_hand:
            archive.unlink()
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{dataset.name}: cannot write below {home} ({error.strerror or error}); make room, or choose "
            "another place with folder=... or $BILINEAR_CACHE"
        ) from error
    return target


def find(name: str) -> Dataset:
    """The data set of a name, with its licence, citation and address.

    Args:
        name: as `fetch` takes it, in capitals or not.
    Raises:
        ParameterValueError: an unknown name.

    Examples:
        >>> from bilinear.data.datasets.fetch import find
        >>> find("ml-100k").name, find("ML-1M").url
        ('movielens-100k', 'https://files.grouplens.org/datasets/movielens/ml-1m.zip')
    """
    for dataset in _DATASETS:
        if name.lower() in (dataset.name, dataset.folder):
            return dataset
    names = ", ".join(f"{dataset.name} ({dataset.folder})" for dataset in _DATASETS)
    raise ParameterValueError(
        f"no data set {name!r}; choose {names}, or read a file that you have with read_ratings(path)"
    )


def ratings_path(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The file of ratings of a fetched data set.

    Raises:
        DownloadError: it has not been fetched into `folder`.
    """
    dataset = find(name)
    return _fetched(dataset, _home(folder) / dataset.folder / dataset.ratings_file)


def items_path(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The file of titles and genres of a fetched data set; raises as `ratings_path`."""
    dataset = find(name)
    return _fetched(dataset, _home(folder) / dataset.folder / dataset.items_file)


def cache_folder() -> Path:
    """$BILINEAR_CACHE, or the platform's place for caches, such as ~/.cache/bilinear."""
    if own := os.environ.get("BILINEAR_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "bilinear" / "Cache"
        )
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bilinear"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bilinear"


def _home(folder: str | os.PathLike[str] | None) -> Path:
    return cache_folder() if folder is None else Path(folder)


def _fetched(dataset: Dataset, path: Path) -> Path:
    if not path.is_file():
        raise DownloadError(f"{path} is not there; fetch the data set first: fetch({dataset.name!r})")
    return path


def _check_placed(dataset: Dataset, archive: Path) -> None:
    from bilinear.data.datasets.download import md5_of

    if dataset.md5 is not None and (found := md5_of(archive)) != dataset.md5:
        raise DownloadError(
            f"{archive} has MD5 {found}, {dataset.name} has {dataset.md5}; delete it, place the archive from "
            f"{dataset.url} there, or fetch with force=True"
        )


def _download(
    dataset: Dataset,
    url: str,
    archive: Path,
    progress: Callable[[int, int | None], None] | None,
    timeout: float,
) -> None:
    from bilinear.data.datasets.download import download, published_md5

    pinned = dataset.md5 is not None
    try:
        download(
            url,
            archive,
            md5=dataset.md5 or published_md5(url + ".md5", timeout=timeout),
            size=dataset.size if pinned else None,
            limit=dataset.size if pinned else _SMALL,
            progress=progress,
            timeout=timeout,
        )
    except DownloadError as error:
        raise DownloadError(
            f"{dataset.name} could not be fetched: {error}. Behind a proxy, set HTTPS_PROXY. Without a "
            f"network, fetch {dataset.url} elsewhere, place it as {archive} and call again"
        ) from error
