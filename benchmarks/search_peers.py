"""FAISS and hnswlib on item and user vectors, for `serve_at_size.py`; needs nothing of bilinear.

Prints a line of JSON for each way to search: name, CPU seconds to build, median and 99th percentile of the
CPU time of a search in milliseconds, share of the ten best found.
"""

import json
import sys
import time
from typing import Any

import faiss  # type: ignore[import-not-found]
import hnswlib  # type: ignore[import-not-found]
import numpy as np


def search(folder: str) -> None:
    """Searches `items.npy` for each row of `users.npy`, one at a time on one thread."""
    faiss.omp_set_num_threads(1)
    items, users = np.load(f"{folder}/items.npy"), np.load(f"{folder}/users.npy")
    n, d = items.shape
    flat = faiss.IndexFlatIP(d)
    flat.add(items)
    truth = flat.search(users, 10)[1]

    def say(name: str, build: float, ask_one: Any) -> None:
        seconds, found = [], []
        for user in users:
            began = time.process_time()
            found.append(ask_one(user[None]))
            seconds.append(time.process_time() - began)
        recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)])
        times = f"{1e3 * np.median(seconds):.2f}", f"{1e3 * np.percentile(seconds, 99):.2f}"
        print(json.dumps([name, f"{build:.0f}", *times, f"{recall:.3f}"]), flush=True)

    say("FAISS, all inner products", 0, lambda user: flat.search(user, 10)[1][0])
    began = time.process_time()
    n_lists = int(4 * n**0.5)
    inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, n_lists, faiss.METRIC_INNER_PRODUCT)
    inverted.train(items[:: max(1, n // (40 * n_lists))])
    inverted.add(items)
    build = time.process_time() - began
    for probes in (n_lists // 64, n_lists // 16, n_lists // 4):
        inverted.nprobe = probes
        say(f"FAISS, {probes} of {n_lists} lists", build, lambda user: inverted.search(user, 10)[1][0])
    began = time.process_time()
    graph = hnswlib.Index(space="ip", dim=d)
    graph.init_index(max_elements=n, ef_construction=100, M=16)
    graph.add_items(items, num_threads=1)
    build = time.process_time() - began
    for width in (50, 200, 800):
        graph.set_ef(width)
        say(f"hnswlib, ef {width}", build, lambda user: graph.knn_query(user, k=10, num_threads=1)[0][0])


if __name__ == "__main__":
    search(sys.argv[1])
