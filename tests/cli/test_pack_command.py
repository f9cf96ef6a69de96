"""`bilinear pack`: the folder stands for the file in every command; damage and taken names are refused."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import FIXED, Run

import bilinear


def test_commands_give_the_same_of_the_packed_table(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    ran = run("pack", ratings_file, "--out", packed, "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["n_ratings"] == 900
    assert json.loads(ran.out)["bytes"] == sum(path.stat().st_size for path in packed.iterdir())
    found = []
    for source in (ratings_file, packed):
        out = tmp_path / f"model of {source.name}"
        ran = run("train", source, "--out", out, "--json", "--quiet", *FIXED)
        assert ran.code == 0, ran.err
        described = json.loads(run("data", "describe", source, "--json").out)
        evaluated = json.loads(run("evaluate", out, source, "--json").out)
        ranked = {
            name: list(column) for name, column in bilinear.load(out).recommend("007").to_columns().items()
        }
        found.append([json.loads(ran.out)["scores"], described | {"source": ""}, evaluated, ranked])
    assert found[0] == found[1]


def test_what_is_wrong_is_said_with_exit_code_2(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    assert run("pack", ratings_file, "--out", packed).code == 0
    again = run("pack", ratings_file, "--out", packed)
    assert (again.code, "is there already" in again.err) == (2, True)
    said = run("data", "describe", packed, "--rating", "rating")
    assert (said.code, "rating cannot be said of a packed table" in said.err) == (2, True)
    verified = run("data", "verify", packed)
    assert (verified.code, "900 ratings, as they were packed" in verified.out) == (0, True)
    content = bytearray((packed / "ratings.bin").read_bytes())
    content[5] ^= 1
    (packed / "ratings.bin").write_bytes(content)
    damaged = run("data", "verify", packed)
    assert (damaged.code, "ratings.bin: its content" in damaged.err) == (2, True)
