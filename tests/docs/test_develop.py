"""The developer documents: the table of packages is that of the source, hooks and CI run the same checks."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_map_names_every_package_with_its_first_line() -> None:
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "tools" / "rooms.py")
    assert spec is not None
    assert spec.loader is not None
    rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rooms)
    page = rooms.MAP.read_text(encoding="utf-8")
    assert page == rooms.with_table(page), "run python tools/rooms.py"
    top = {path.stem for path in (ROOT / "src" / "bilinear").iterdir() if path.suffix in {".py", ""}}
    assert set(re.findall(r"\| `bilinear\.(\w+)` \|", page)) == top - {"__init__", "__pycache__"}


def test_hooks_and_ci_run_the_same_checks() -> None:
    def made(file: str) -> list[str]:
        text = (ROOT / file).read_text(encoding="utf-8")
        lines = " ".join(re.findall(r"(?:^|entry: )make ([^,\n]*)", text, re.MULTILINE))
        return sorted(re.findall(r"(?<!\S)[a-z][a-z-]*(?!\S)", lines))

    checks = ["lint", "site", "test", "test-narrow", "wheel"]
    assert made(".pre-commit-config.yaml") == made(".ci/run") == checks


def test_targets_named_in_documents_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "develop").glob("*.md")]:
        named = re.findall(r"\bmake ([a-z]+)\b(?= *[`#\n]| [A-Z]+=)", page.read_text(encoding="utf-8"))
        assert set(named) <= targets, page


def test_locked_versions_satisfy_what_the_project_asks_for() -> None:
    """Every dependency is locked, and no address of a registry is in the file."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines)
    locked = {line.split("==")[0] for line in lines}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = set(re.findall(r'"([a-z][a-z0-9-]*)(?:\[\w+\])?>=', project.partition("[project.scripts]")[0]))
    assert asked - locked == {"cmfrec", "libmf", "ray", "scikit-surprise"}  # not in what all tests need
