"""Fetching public data sets, against a server on this machine that behaves and misbehaves."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bilinear.data.datasets import download, unpack
from bilinear.data.datasets import fetch as datasets
from bilinear.data.datasets.download import published_md5
from bilinear.data.datasets.fetch import available, cache_folder, fetch, items_path, ratings_path
from bilinear.errors import DownloadError, ParameterValueError

SMALL = "movielens-latest-small"
FOLDER = "ml-latest-small"
ZIP = "ml-latest-small.zip"
RATINGS = b"userId,movieId,rating,timestamp\n" + b"".join(
    b"%d,%d,%d.5,%d\n" % (n, n * 7919 % 1_000, n % 5, n * 104_729 % 1_000_003) for n in range(1, 20_000)
)
FILES = {f"{FOLDER}/ratings.csv": RATINGS, f"{FOLDER}/movies.csv": b"movieId,title,genres\n1,A,B\n"}


def zipped(files: dict[str, bytes], adjust: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name  # as it is: the constructor would tidy it
            if adjust is not None:
                adjust(info)
            bundle.writestr(info, content)
    return buffer.getvalue()


def deflated(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED


ARCHIVE = zipped(FILES, deflated)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Site:
    """What the server holds and how it answers; `script` is used up one word a request."""

    files: dict[str, bytes]
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    lengths: bool = True
    script: list[str] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def put(self, archive: bytes, name: str = ZIP) -> None:
        self.files[f"/{name}"] = archive
        self.files[f"/{name}.md5"] = f"{md5(archive)}  {name}\n".encode()

    @property
    def archive(self) -> bytes:
        return self.files[f"/{ZIP}"]

    @property
    def ranges_asked(self) -> list[str | None]:
        return [asked for path, asked in self.requests if path.endswith(".zip")]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        asked = self.headers["Range"]
        site.requests.append((self.path, asked))
        is_archive = self.path.endswith(".zip")
        how = site.script.pop(0) if is_archive and site.script else "ok"
        if self.path not in site.files:
            return self.send_error(404)
        if how.isdigit():
            return self.send_error(int(how))
        if how.startswith("http"):
            self.send_response(302)
            self.send_header("Location", how)
            return self.end_headers()
        content, start = site.files[self.path], 0
        strong = None if site.etag and site.etag.startswith("W/") else site.etag
        fresh = self.headers["If-Range"] in (None, strong, site.modified)
        if asked and site.ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            start -= how == "shift"
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.etag:
            self.send_header("ETag", site.etag)
        if site.modified:
            self.send_header("Last-Modified", site.modified)
        body = content[start:]
        if site.lengths or not is_archive:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if how in ("drop", "stall") else body)
        self.wfile.flush()
        if how == "stall":
            site.done.wait(30)
        return None


class NullProgress(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:  # a client that goes away is part of the tests
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    here = Site({})
    here.put(ARCHIVE)
    with NullProgress(("127.0.0.1", 0), type("Handler", (Handler,), {"site": here})) as server:
        here.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        here.done.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pauses, no proxy, and never the caller's own cache."""
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("BILINEAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BILINEAR_DATASETS_URL", raising=False)


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/"


def pin(monkeypatch: pytest.MonkeyPatch, archive: bytes, **changes: Any) -> None:
    """Make the small set one whose size and checksum the table knows."""
    entry = replace(available()[0], size=len(archive), md5=md5(archive))
    monkeypatch.setattr(datasets, "_DATASETS", (replace(entry, **changes),))


def assert_fetched(folder: Path, files: dict[str, bytes] = FILES) -> None:
    found = {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in folder.rglob("*")}
    del found[f"{folder.name}/{unpack.MANIFEST}"]
    assert found == files


# --- the way it should go


def test_fetch_leaves_the_files_and_nothing_else(site: Site, tmp_path: Path) -> None:
    folder = fetch(SMALL, tmp_path / "new" / "place", base_url=site.url)
    assert folder == tmp_path / "new" / "place" / FOLDER
    assert_fetched(folder)
    assert [path.name for path in folder.parent.iterdir()] == [FOLDER]
    assert ratings_path(SMALL, folder.parent).read_bytes() == RATINGS
    assert items_path(SMALL, folder.parent) == folder / "movies.csv"


def test_default_folder_and_address_come_from_the_environment(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILINEAR_DATASETS_URL", site.url.rstrip("/"))
    assert fetch(SMALL) == tmp_path / "cache" / FOLDER
    assert ratings_path(SMALL) == tmp_path / "cache" / FOLDER / "ratings.csv"


def test_progress_grows_to_the_size_of_the_archive(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(SMALL, tmp_path, base_url=site.url, progress=lambda *now: seen.append(now))
    assert seen[0][0] == 0
    assert seen[-1] == (len(site.archive), len(site.archive))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_server_that_does_not_say_the_length(site: Site, tmp_path: Path) -> None:
    site.lengths = False
    seen: list[tuple[int, int | None]] = []
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, progress=lambda *now: seen.append(now)))
    assert seen[-1] == (len(site.archive), None)


def test_second_fetch_reuses_what_is_there_without_a_request(site: Site, tmp_path: Path) -> None:
    fetch(SMALL, tmp_path, base_url=site.url)
    site.requests.clear()
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.requests == []


def test_force_replaces_what_is_there(site: Site, tmp_path: Path) -> None:
    folder = fetch(SMALL, tmp_path, base_url=site.url)
    (folder / "stray").write_text("")
    changed = {**FILES, f"{FOLDER}/movies.csv": b"movieId,title,genres\n2,C,D\n"}
    site.put(zipped(changed))
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, force=True), changed)
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_pinned_checksum_needs_no_md5_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, site.archive)
    del site.files[f"/{ZIP}.md5"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))


@pytest.mark.parametrize("layout", ["{}  ml-x.zip\n", "MD5 (ml-x.zip) = {}\n", "{}"])
def test_published_md5_of_either_layout(site: Site, layout: str) -> None:
    digest = md5(b"x")
    site.files["/x.md5"] = layout.format(digest.upper()).encode()
    assert published_md5(site.url + "x.md5") == digest


# --- interruptions


def test_dropped_connection_is_continued_where_it_broke(site: Site, tmp_path: Path) -> None:
    site.script = ["drop", "drop"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    half = len(site.archive) // 2
    rest = half + (len(site.archive) - half) // 2
    assert site.ranges_asked == [None, f"bytes={half}-", f"bytes={rest}-"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_part_of_an_interrupted_call_is_continued_by_the_next(
    site: Site, tmp_path: Path, interruption: type[BaseException]
) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise interruption

    with pytest.raises(interruption):
        fetch(SMALL, tmp_path, base_url=site.url, progress=interrupt)
    n_bytes = (tmp_path / f"{ZIP}.part").stat().st_size
    assert 0 < n_bytes < len(site.archive)
    seen: list[int] = []
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, progress=lambda done, _: seen.append(done)))
    assert site.ranges_asked == [None, f"bytes={n_bytes}-"]
    assert seen[0] == n_bytes
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def leave_part(site: Site, folder: Path) -> int:
    site.script = ["drop"] * 4
    with pytest.raises(DownloadError):
        fetch(SMALL, folder, base_url=site.url)
    site.requests.clear()
    return (folder / f"{ZIP}.part").stat().st_size


def test_resume_by_date_where_there_is_no_strong_etag(site: Site, tmp_path: Path) -> None:
    site.etag, site.modified = 'W/"weak"', "Wed, 26 Sep 2018 21:50:12 GMT"
    n_bytes = leave_part(site, tmp_path)
    seen: list[int] = []
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, progress=lambda done, _: seen.append(done)))
    assert seen[0] == n_bytes


def test_changed_remote_file_is_fetched_from_the_start(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    changed = {**FILES, f"{FOLDER}/ratings.csv": RATINGS[::-1]}
    site.put(zipped(changed))
    site.etag = '"two"'
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url), changed)
    assert len(site.ranges_asked) == 1


def test_server_without_ranges_is_fetched_from_the_start(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    site.ranges = False
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert len(site.ranges_asked) == 1


def test_server_without_validators_is_not_asked_to_continue(site: Site, tmp_path: Path) -> None:
    site.etag = None
    leave_part(site, tmp_path)
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == [None]


def test_remote_file_shorter_than_the_part_is_fetched_from_the_start(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    short = {f"{FOLDER}/ratings.csv": b"r", f"{FOLDER}/movies.csv": b"m"}
    site.put(zipped(short))  # under the same ETag: the server is at fault
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url), short)
    assert site.ranges_asked[1:] == [None]


def test_server_that_sends_another_range_is_asked_from_the_start(site: Site, tmp_path: Path) -> None:
    n_bytes = leave_part(site, tmp_path)
    site.script = ["shift"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == [f"bytes={n_bytes}-", None]


def test_part_from_another_address_is_not_continued(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    site.put(site.archive, f"mirror/{ZIP}")
    assert_fetched(fetch(SMALL, tmp_path, base_url=f"{site.url}mirror"))
    assert site.ranges_asked == [None]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda note: "",
        lambda note: note[:-1],
        lambda note: "{}",
        lambda note: note.replace('"\\"one\\""', '"a\\nb"'),
        lambda note: note.replace('"\\"one\\""', "5"),
    ],
)
def test_part_with_a_damaged_note_is_fetched_from_the_start(
    site: Site, tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    leave_part(site, tmp_path)
    path = tmp_path / f"{ZIP}.part.json"
    note = path.read_text()
    assert spoil(note) != note
    path.write_text(spoil(note))
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == [None]


def test_part_without_a_note_is_fetched_from_the_start(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    (tmp_path / f"{ZIP}.part.json").unlink()
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == [None]


def test_damaged_part_is_fetched_again_once(site: Site, tmp_path: Path) -> None:
    n_bytes = leave_part(site, tmp_path)
    (tmp_path / f"{ZIP}.part").write_bytes(b"\0" * n_bytes)
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == [f"bytes={n_bytes}-", None]


def test_whole_part_is_only_checked(site: Site, tmp_path: Path) -> None:
    leave_part(site, tmp_path)
    (tmp_path / f"{ZIP}.part").write_bytes(site.archive)
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert site.ranges_asked == []


def test_server_error_that_passes_is_waited_for(site: Site, tmp_path: Path) -> None:
    site.script = ["500", "503"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))
    assert len(site.ranges_asked) == 3


def test_server_that_stalls_is_left_and_asked_again(site: Site, tmp_path: Path) -> None:
    site.script = ["stall"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, timeout=0.2))
    assert len(site.ranges_asked) == 2


@pytest.mark.parametrize(("how", "reason"), [("500", "500"), ("drop", "the connection closed after")])
def test_attempts_are_bounded(site: Site, tmp_path: Path, how: str, reason: str) -> None:
    site.script = [how] * 100
    with pytest.raises(DownloadError, match=f"{reason}.*gave up after 4 attempts"):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert len(site.ranges_asked) == 4


# --- refusals; each says how to do without


def test_offline_says_what_was_tried_and_where_to_place_the_archive(closed_port: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(SMALL, tmp_path, base_url=closed_port)
    message = str(caught.value)
    for part in (
        SMALL,
        closed_port,
        "seems to be offline",
        str(tmp_path / ZIP),
        "https://files.grouplens.org/",
    ):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_unknown_host_seems_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match="Name or service not known; this machine seems to be offline"):
        fetch(SMALL, tmp_path, base_url="http://no-such-host.invalid/")


def test_missing_file_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    del site.files[f"/{ZIP}"]
    with pytest.raises(DownloadError, match=re.escape(f"{site.url}{ZIP}: the server answers 404")):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert len(site.ranges_asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksum_is_thrown_away(site: Site, tmp_path: Path) -> None:
    site.files[f"/{ZIP}.md5"] = md5(b"other").encode()
    with pytest.raises(DownloadError, match=f"has MD5 {md5(site.archive)}, expected {md5(b'other')}"):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert list(tmp_path.iterdir()) == []


def test_pinned_checksum_holds_on_a_mirror_too(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, site.archive)
    site.put(site.archive[:-1] + b"x")  # with an .md5 file that agrees
    with pytest.raises(DownloadError, match="has MD5"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_wrong_size_is_refused_before_the_transfer(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, site.archive, size=len(site.archive) + 1)
    seen: list[Any] = []
    with pytest.raises(DownloadError, match=rf"has {len(site.archive):,} bytes, expected"):
        fetch(SMALL, tmp_path, base_url=site.url, progress=lambda *now: seen.append(now))
    assert seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_endless_file_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: bool
) -> None:
    monkeypatch.setattr(datasets, "_SMALL", 1_000)
    site.lengths = lengths
    with pytest.raises(DownloadError, match="larger than 1,000 bytes"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_md5_file_without_a_checksum_is_refused(site: Site, tmp_path: Path) -> None:
    site.files[f"/{ZIP}.md5"] = b"<html>Welcome to the network</html>"
    with pytest.raises(DownloadError, match="expected one MD5 checksum, found '<html>Welcome"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    site.files["/other.zip"] = site.archive
    site.script = [f"{site.url}other.zip"]
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url))


def test_encrypted_address_does_not_lead_to_an_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Response(io.BytesIO):
        url = "http://example.invalid/x.md5"

    given = Response(b"")
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *_, **__: given)
    with pytest.raises(DownloadError, match="not encrypted"):
        published_md5("https://example.invalid/x.md5")
    assert given.closed


def test_part_in_use_by_another_process_is_left_alone(site: Site, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / f"{ZIP}.part").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is fetching"):
            fetch(SMALL, tmp_path, base_url=site.url)
    assert (tmp_path / f"{ZIP}.part").exists()


def test_folder_that_cannot_be_made_is_told(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot write below"):
        fetch(SMALL, tmp_path / "file" / "below", base_url=site.url)


# --- what is there already


def test_archive_placed_by_hand_is_used_and_kept(closed_port: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / ZIP).write_bytes(site.archive)
    assert_fetched(fetch(SMALL, tmp_path, base_url=closed_port))
    assert (tmp_path / ZIP).read_bytes() == site.archive


def test_wrong_archive_placed_by_hand_is_named(
    closed_port: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, b"another")
    (tmp_path / ZIP).write_bytes(site.archive)
    with pytest.raises(DownloadError, match=re.escape(str(tmp_path / ZIP)) + " has MD5"):
        fetch(SMALL, tmp_path, base_url=closed_port)
    assert (tmp_path / ZIP).exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "ratings.csv").unlink(), r"ratings\.csv is missing"),
        (lambda folder: (folder / "ratings.csv").write_bytes(RATINGS[:-1]), "not as it was unpacked"),
        (lambda folder: (folder / "ratings.csv").write_bytes(RATINGS[:-1] + b"x"), "not as it was unpacked"),
        (lambda folder: (folder / unpack.MANIFEST).unlink(), "was not put there by bilinear"),
        (lambda folder: (folder / unpack.MANIFEST).write_text("[1]"), "is damaged"),
        (lambda folder: (folder / unpack.MANIFEST).write_text("{"), "is damaged"),
    ],
)
def test_damaged_data_is_told_and_kept_until_forced(
    site: Site, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = fetch(SMALL, tmp_path, base_url=site.url)
    damage(folder)
    with pytest.raises(DownloadError, match=f"{message}.*force=True"):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert_fetched(fetch(SMALL, tmp_path, base_url=site.url, force=True))


def test_failed_force_leaves_what_was_there(site: Site, closed_port: str, tmp_path: Path) -> None:
    fetch(SMALL, tmp_path, base_url=site.url)
    with pytest.raises(DownloadError):
        fetch(SMALL, tmp_path, base_url=closed_port, force=True)
    site.put(b"no zip")
    with pytest.raises(DownloadError, match="is damaged"):
        fetch(SMALL, tmp_path, base_url=site.url, force=True)
    assert_fetched(fetch(SMALL, tmp_path, base_url=closed_port))


# --- archives that must not be unpacked


def kind(mode: int) -> Callable[[zipfile.ZipInfo], None]:
    return lambda info: setattr(info, "external_attr", mode << 16)


@pytest.mark.parametrize(
    "name",
    ["../x", f"{FOLDER}/../../x", "/x", "C:/x", f"{FOLDER}\\x", f"{FOLDER}//x", f"{FOLDER}/./x", "a:b", ""],
)
def test_path_that_leads_elsewhere_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    site.put(zipped({**FILES, name: b"x"}))
    home = tmp_path / "home"
    with pytest.raises(DownloadError, match=r"unsafe.*not unpacked"):
        fetch(SMALL, home, base_url=site.url)
    assert [path.name for path in home.iterdir()] == [ZIP]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_are_refused(site: Site, tmp_path: Path, mode: int) -> None:
    site.put(zipped(FILES, kind(mode)))
    with pytest.raises(DownloadError, match="a kind other than file and folder"):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert [path.name for path in tmp_path.iterdir()] == [ZIP]


def test_two_names_for_one_file_are_refused(site: Site, tmp_path: Path) -> None:
    site.put(zipped({**FILES, f"{FOLDER}/Ratings.CSV": b"x"}))
    with pytest.raises(DownloadError, match="occurs twice"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_bomb_is_refused_by_its_declared_size(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_UNPACKED_TO_PACKED", 1)
    bomb = zipped({**FILES, f"{FOLDER}/zeros": bytes(1 << 21)}, deflated)
    pin(monkeypatch, bomb)
    monkeypatch.setattr(datasets, "_SMALL", 1 << 20)
    site.put(bomb)
    with pytest.raises(DownloadError, match=r"declares [\d,]+ bytes unpacked, expected at most"):
        fetch(SMALL, tmp_path, base_url=site.url)


@pytest.mark.parametrize("declared", [100, len(RATINGS) + 1])
def test_member_that_lies_about_its_size_is_refused(site: Site, tmp_path: Path, declared: int) -> None:
    true = len(RATINGS).to_bytes(4, "little")
    assert ARCHIVE.count(true) == 2  # in the member's own header and in the directory
    site.put(ARCHIVE.replace(true, declared.to_bytes(4, "little")))
    with pytest.raises(DownloadError, match="is damaged"):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert [path.name for path in tmp_path.iterdir()] == [ZIP]


def test_encrypted_members_are_refused(site: Site, tmp_path: Path) -> None:
    flags = ARCHIVE.index(b"PK\x01\x02") + 8
    site.put(ARCHIVE[:flags] + bytes([ARCHIVE[flags] | 1]) + ARCHIVE[flags + 1 :])
    with pytest.raises(DownloadError, match="encrypted content"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_unusual_compression_is_refused(site: Site, tmp_path: Path) -> None:
    site.put(zipped(FILES, lambda info: setattr(info, "compress_type", zipfile.ZIP_BZIP2)))
    with pytest.raises(DownloadError, match="an unusual compression method"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_too_many_members_are_refused(site: Site, tmp_path: Path) -> None:
    site.put(zipped({**FILES, **{f"{FOLDER}/{n}": b"" for n in range(1_000)}}))
    with pytest.raises(DownloadError, match="holds 1,002 members"):
        fetch(SMALL, tmp_path, base_url=site.url)


def test_full_disk_is_told_before_unpacking(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = unpack.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    with pytest.raises(DownloadError, match=r"has 1,000; make room"):
        fetch(SMALL, tmp_path, base_url=site.url)


def flipped(archive: bytes) -> bytes:
    at = archive.index(b"\n1,") + 1  # inside the content of movies.csv, which is stored as it is
    return archive[:at] + b"7" + archive[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda archive: archive[: len(archive) // 2], "is damaged"),
        (lambda archive: b"", "is damaged"),
        (lambda archive: b"<html>log in</html>", "is damaged"),
        (lambda archive: flipped(zipped({**FILES, f"{FOLDER}/ratings.csv": b""})), "is damaged.*CRC"),
        (lambda archive: zipped({f"{FOLDER}/ratings.csv": b""}), r"holds no ml-latest-small/movies\.csv"),
        (lambda archive: zipped({"ratings.csv": b"", "movies.csv": b""}), "holds no ml-latest-small/ratings"),
    ],
)
def test_damaged_or_other_archive_is_refused_even_if_its_checksum_agrees(
    site: Site, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / ZIP).write_bytes(damage(site.archive))
    with pytest.raises(DownloadError, match=message):
        fetch(SMALL, tmp_path, base_url=site.url)
    assert [path.name for path in tmp_path.iterdir()] == [ZIP]


def test_members_beside_the_folder_are_not_unpacked(site: Site, tmp_path: Path) -> None:
    site.put(zipped({**FILES, "__MACOSX/junk": b"x", f"{FOLDER}/deep/er": b"y"}))
    folder = fetch(SMALL, tmp_path, base_url=site.url)
    assert (folder / "deep" / "er").read_bytes() == b"y"
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    assert fetch(SMALL, tmp_path) == folder


def test_process_that_was_quicker_is_believed_if_its_data_is_right(site: Site, tmp_path: Path) -> None:
    (tmp_path / ZIP).write_bytes(site.archive)
    folder = tmp_path / FOLDER
    arguments: Any = {"needed": ("ratings.csv",), "limit": 1 << 30}
    unpack.unpack(tmp_path / ZIP, folder, **arguments)
    unpack.unpack(tmp_path / ZIP, folder, **arguments)
    assert_fetched(folder)
    (folder / "ratings.csv").write_bytes(b"")
    with pytest.raises(DownloadError, match="not as it was unpacked"):
        unpack.unpack(tmp_path / ZIP, folder, **arguments)


# --- the table


def test_available_lists_what_fetch_takes() -> None:
    assert [dataset.name for dataset in available()] == [
        "movielens-latest-small",
        "movielens-100k",
        "movielens-1m",
        "movielens-25m",
        "movielens-32m",
    ]
    for dataset in available():
        assert dataset.url == f"https://files.grouplens.org/datasets/movielens/{dataset.archive}"
        assert dataset.md5 is None or re.fullmatch("[0-9a-f]{32}", dataset.md5)
        assert "Harper" in dataset.citation
        assert "not for commercial use" in dataset.licence


def test_table_describes_the_real_small_set(shared_data: Path) -> None:
    folder = shared_data / FOLDER
    dataset = available()[0]
    assert (folder / dataset.ratings_file).read_text().splitlines()[0] == "userId,movieId,rating,timestamp"
    with (folder / dataset.ratings_file).open() as file:
        assert f"{sum(1 for _ in file) - 1:,} ratings" in dataset.title
    assert (folder / dataset.items_file).is_file()


@pytest.mark.parametrize("name", ["ml-latest-small", "ML-Latest-Small", "movielens-latest-small"])
def test_sets_have_the_names_that_people_use(site: Site, tmp_path: Path, name: str) -> None:
    assert_fetched(fetch(name, tmp_path, base_url=site.url))
    assert ratings_path(name, tmp_path) == tmp_path / FOLDER / "ratings.csv"


@pytest.mark.parametrize("call", [fetch, ratings_path, items_path])
def test_unknown_name_shows_the_known_ones(call: Callable[[str], Path]) -> None:
    with pytest.raises(ParameterValueError, match="no data set 'netflix'; choose movielens-latest-small"):
        call("netflix")


def test_paths_of_a_set_not_fetched_say_so(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"fetch the data set first: fetch\('movielens-1m'\)"):
        ratings_path("movielens-1m", tmp_path)


@pytest.mark.parametrize("address", ["file:///etc/", "ftp://x/", "files.grouplens.org"])
def test_only_http_addresses(address: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterValueError, match="starts with https"):
        fetch(SMALL, tmp_path, base_url=address)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("BILINEAR_CACHE")
    monkeypatch.setattr(datasets.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "bilinear"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "bilinear"
