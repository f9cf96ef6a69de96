"""What a wheel holds, and what it says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import bilinear
from bilinear.serving.http.web_files import FOLDER, LICENSES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_written_once() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert version("bilinear") == bilinear.__version__


def test_the_citation_is_of_this_package_and_its_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["title"].startswith("bilinear: ")
    assert (cited["version"], cited["license"]) == (bilinear.__version__, PROJECT["license"])
    assert {"cff-version", "message", "authors"} <= cited.keys()  # what the format asks for


def test_every_package_in_the_page_has_its_licence_beside_it() -> None:
    """The lock file tells what is bundled from what only builds."""
    locked = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    bundled = {
        name.removeprefix("node_modules/"): entry["version"]
        for name, entry in locked.items()
        if name and not entry.get("dev")
    }
    assert bundled
    licenses = LICENSES.read_text()
    for name, number in bundled.items():
        assert f" {number} ({name}, " in licenses
    assert licenses.count("Permission is hereby granted") == len(bundled)
    assert "/licenses" in (FOLDER / "page.js").read_text()[:200]


def test_licence_files_are_named_to_installers() -> None:
    named = {ROOT / name for name in PROJECT["license-files"]}
    assert named == {
        ROOT / "LICENSE",
        ROOT / "src" / LICENSES.relative_to(Path(bilinear.__file__).parents[1]),
    }
    assert all(path.is_file() for path in named)


def test_a_wheel_holds_page_and_licences(tmp_path: Path) -> None:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"bilinear-{bilinear.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
    assert {
        "bilinear/serving/licenses.txt",
        "bilinear/serving/web/page.js",
        f"{info}/licenses/LICENSE",
    } <= names
    assert f"{info}/licenses/src/bilinear/serving/licenses.txt" in names
    assert "License-File: src/bilinear/serving/licenses.txt" in metadata
