"""Users per second of lists for everyone: bilinear against `implicit` and the bare matrix product.

29,858 users, 40,981 items (Gowalla), lists of 20 with seen items left out. Factors are those of
`implicit`'s ALS, trained here, and random normal ones, of which no item can be skipped. Contenders
run in processes of their own, one round each in turn, so that other load on the machine hits all of
them alike. `implicit` may live in another environment: --peer-python names its interpreter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

N = 20
CONTENDERS = ("bilinear", "implicit", "bare product")
_AT_ONCE = 1000


def main() -> None:
    import common
    import settings

    parser = common.arguments(__doc__)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has `implicit`")
    parser.add_argument("--factors", type=int, nargs="+", default=[64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    settings.add_option(parser)
    options = parser.parse_args()
    if settings.ran_both(options, "recommend_everyone"):
        return
    default = os.environ.get("BILINEAR_DATA") or common.REPOSITORY.parent / "shared" / "data"
    clicks = (options.data or Path(default)) / "gowalla" / "train.txt"
    if not clicks.is_file():
        raise SystemExit(f"SKIPPED: no file {clicks}; name its folder with --data or BILINEAR_DATA")
    rows, numbers = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for n_factors in options.factors:
            trained = Path(scratch, f"trained-{n_factors}.npz")
            _run([options.peer_python, __file__, "train", str(clicks), str(n_factors), str(trained)], 1)
            random = Path(scratch, f"random-{n_factors}.npz")
            _randomise(trained, random)
            for kind, file in (("trained", trained), ("random", random)):
                for n_threads in options.threads:
                    name = f"{kind}, {n_factors} factors, {n_threads} threads"
                    seconds, lists = _race(options, file, n_threads, Path(scratch))
                    numbers[name] = seconds | {"same_items": _same(lists["bilinear"], lists["implicit"])}
                    rows.append(_row(kind, n_factors, n_threads, numbers[name], len(lists["bilinear"])))
    facts = common.machine_facts("scipy")
    facts["implicit"] = _run([options.peer_python, __file__, "version"], 1).strip()
    numbers["machine"] = facts
    header = ["factors", "threads", *(f"{name}, users/s" for name in CONTENDERS)]
    header += ["times implicit", "(range)", "times bare product", "same items"]
    markdown = (
        f"# Lists for everyone\n\n{__doc__.split(chr(10), 2)[2].strip()}\n\n"
        f"Users per second: medians of {options.rounds} rounds; ratios: medians of the rounds' own, with "
        "their range. The bare product is NumPy's `user_factors[block] @ item_factors.T` in blocks of "
        f"{_AT_ONCE} users into one buffer; bilinear may beat it, because it writes no scores and, for "
        "trained factors, leaves out items that cannot reach a list. `implicit` gets its threads with BLAS "
        "pinned to one, as it recommends. Same items: share of the listed items that both "
        "list (the rest are ties within rounding).\n\n"
        f"{common.facts_line(facts)}\n\n{common.table_text(header, rows)}"
    )
    common.publish("recommend_everyone", options.out, markdown, numbers)


def _race(
    options: argparse.Namespace, file: Path, n_threads: int, scratch: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Seconds of each contender by round, and the lists of those that make some."""
    interpreters = {
        name: options.peer_python if name == "implicit" else sys.executable for name in CONTENDERS
    }
    outputs = {name: scratch / f"{name.split()[0]}.npy" for name in CONTENDERS}
    workers = {
        name: subprocess.Popen(
            [interpreters[name], __file__, "work", name, str(file), str(n_threads), str(outputs[name])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(n_threads if name == "bare product" else 1),
        )
        for name in CONTENDERS
    }
    seconds: dict[str, Any] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds + 1):  # the first warms up
        for name, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            if not line:
                raise SystemExit(f"{name} ended early")
            seconds[name].append(float(line))
    for worker in workers.values():
        worker.communicate()
    lists = {name: np.load(outputs[name]) for name in CONTENDERS if outputs[name].exists()}
    return {name: times[1:] for name, times in seconds.items()}, lists


def _row(kind: str, n_factors: int, n_threads: int, numbers: dict[str, Any], n_users: int) -> list[str]:
    ours = np.array(numbers["bilinear"])
    speeds = [f"{n_users / statistics.median(numbers[name]):,.0f}" for name in CONTENDERS]
    to_peer, to_bare = (np.array(numbers[name]) / ours for name in CONTENDERS[1:])
    return [
        f"{n_factors}, {kind}",
        str(n_threads),
        *speeds,
        f"{np.median(to_peer):.1f}",
        f"{to_peer.min():.1f} to {to_peer.max():.1f}",
        f"{np.median(to_bare):.2f}",
        f"{numbers['same_items']:.4%}",
    ]


def _same(ours: Any, theirs: Any) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / N for a, b in zip(ours, theirs, strict=True)]))


def _environment(n_threads: int) -> dict[str, str]:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(n_threads))}


def _run(command: list[str], n_threads: int) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=_environment(n_threads)
    ).stdout


def _randomise(trained: Path, path: Path) -> None:
    arrays = dict(np.load(trained))
    rng = np.random.default_rng(0)
    for side in ("users", "items"):
        arrays[side] = rng.standard_normal(arrays[side].shape, np.float32)
    np.savez(path, **arrays)


def train(clicks: str, n_factors: str, path: str) -> None:
    """Factors of `implicit` on a file of one user and its items per line."""
    import implicit
    from scipy.sparse import csr_matrix

    users, items = [], []
    for line in Path(clicks).read_text().splitlines():
        user, *taken = map(int, line.split())
        users += [user] * len(taken)
        items += taken
    table = csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(29_858, 40_981))
    table.sum_duplicates()
    model = implicit.als.AlternatingLeastSquares(int(n_factors), regularization=10, alpha=10, random_state=0)
    model.iterations = 8
    model.fit(table, show_progress=False)
    factors = {"users": np.asarray(model.user_factors), "items": np.asarray(model.item_factors)}
    np.savez(path, **factors, starts=table.indptr, seen=table.indices)


def work(name: str, path: str, n_threads: str, output: str) -> None:
    """One contender: a line on standard input is a round, its seconds the answer."""
    rounds = {"bilinear": _bilinear, "implicit": _implicit, "bare product": _bare_product}[name]
    lists = None
    for seconds, made in rounds(dict(np.load(path)), int(n_threads)):
        print(seconds, flush=True)
        lists = made
    if lists is not None:
        np.save(output, lists)


def _asked() -> Iterator[float]:
    for _ in sys.stdin:
        yield perf_counter()


def _bilinear(arrays: dict[str, Any], n_threads: int) -> Iterator[tuple[float, Any]]:
    from bilinear.data.interactions import Grouped
    from bilinear.data.vocabulary import Vocabulary
    from bilinear.model.parameters import Parameters
    from bilinear.recommend.everyone import recommend_everyone

    n_users, n_items = len(arrays["users"]), len(arrays["items"])

    class Model:
        user_vocabulary_ = Vocabulary.from_sorted(np.arange(n_users))
        item_vocabulary_ = Vocabulary.from_sorted(np.arange(n_items))
        seen_ = Grouped(arrays["starts"].astype(np.int64), arrays["seen"].astype(np.int32), arrays["seen"])

        def dot_product(self) -> Parameters:
            zeros = Parameters.zeros((n_users, n_items))
            return Parameters(0.0, zeros.user_biases, zeros.item_biases, arrays["users"], arrays["items"])

        def allowed(self, _: object) -> Any:
            return np.ones(n_items, bool)

    model: Any = Model()
    for start in _asked():
        lists = recommend_everyone(model, N, n_threads=n_threads)
        yield perf_counter() - start, lists.items


def _implicit(arrays: dict[str, Any], n_threads: int) -> Iterator[tuple[float, Any]]:
    import implicit
    from scipy.sparse import csr_matrix

    n_users = len(arrays["users"])
    ones = np.ones(len(arrays["seen"]), np.float32)
    table = csr_matrix((ones, arrays["seen"], arrays["starts"]), shape=(n_users, len(arrays["items"])))
    model = implicit.als.AlternatingLeastSquares(arrays["users"].shape[1], num_threads=n_threads)
    model.user_factors, model.item_factors = arrays["users"], arrays["items"]
    users = np.arange(n_users)
    for start in _asked():
        items, _ = model.recommend(users, table, N=N)
        yield perf_counter() - start, items


def _bare_product(arrays: dict[str, Any], n_threads: int) -> Iterator[tuple[float, Any]]:
    users, items = arrays["users"], np.ascontiguousarray(arrays["items"].T)
    scores = np.empty((_AT_ONCE, items.shape[1]), np.float32)
    for start in _asked():
        for first in range(0, len(users), _AT_ONCE):
            block = users[first : first + _AT_ONCE]
            np.matmul(block, items, out=scores[: len(block)])
        yield perf_counter() - start, None


def version() -> None:
    """The peer's version."""
    from importlib.metadata import version as installed

    print(installed("implicit"))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("train", "work", "version"):
        globals()[sys.argv[1]](*sys.argv[2:])
    else:
        main()
