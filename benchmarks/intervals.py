"""Intervals over users drawn one by one, and over random groups of them: both ends, and CPU seconds."""

from __future__ import annotations

import time

import common
import numpy as np

from bilinear.evaluation import bootstrap
from bilinear.evaluation.ratings import rating_scores


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--users", type=int, nargs="*", default=[20_000, 300_000])
    options = parser.parse_args()
    rows, numbers, usual = [], {}, bootstrap._MOST
    for n_users in options.users:
        rng = np.random.default_rng(0)
        users = np.sort(rng.integers(n_users, size=10 * n_users))
        errors = rng.uniform(0.5, 1.5, n_users)[users] * rng.normal(size=len(users))
        nobody = np.zeros(len(users), bool)
        cells = [f"{n_users:,}"]
        for most in (n_users, usual):
            bootstrap._MOST = most
            began = time.process_time()
            found = rating_scores(errors, np.zeros(len(users)), users, nobody, nobody).rmse
            took = time.process_time() - began
            cells += [f"{found.low:.4f} to {found.high:.4f}", f"{took:.2f}"]
            numbers[f"{n_users} {most}"] = {"low": found.low, "high": found.high, "cpu": took}
        rows.append(cells)
    facts = common.machine_facts()
    header = ["users", "RMSE, each user", "CPU s", "RMSE, groups", "CPU s"]
    markdown = f"# Intervals\n\nTen rows a user.\n\n{common.facts_line(facts)}\n\n"
    markdown += common.table_text(header, rows)
    common.publish("intervals", options.out, markdown, {"facts": facts, "intervals": numbers})


if __name__ == "__main__":
    main()
