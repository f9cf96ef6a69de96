"""The page's bundle: small, free of foreign addresses, in the wheel, and what its sources make."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bilinear.serving.http.web_files import FOLDER

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "web"
REPORTS = Path("src/bilinear/inspection/web")  # the look and the map of reports, which the page shares
OLDEST_NODE = (20, 19)
_OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|network")


def files() -> dict[str, bytes]:
    return {
        path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()
    }


def test_it_is_small() -> None:
    found = files()
    assert {"index.html", "page.js", "page.css", "icon.svg"} == set(found)
    assert sum(len(gzip.compress(content, 9)) for content in found.values()) < 60_000


def test_it_needs_nothing_that_the_servers_policy_stops() -> None:
    page = files()["index.html"].decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<base", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    script = files()["page.js"].decode()
    assert not re.search(r"\beval\(|new Function\(", script)


def test_nothing_of_it_lies_elsewhere() -> None:
    """Names of XML's own vocabularies look like addresses and are never asked for."""
    for name, content in files().items():
        addresses = re.findall(rb"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", content)
        assert all(address.startswith(b"http://www.w3.org/") for address in addresses), (name, addresses)


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (SOURCES / "package-lock.json").read_text()


def test_it_is_what_its_sources_make(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in version.strip().lstrip("v").split(".")[:2]) < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is too old to build the page")
    work, out, map_out = tmp_path / "web", tmp_path / "out", tmp_path / "map"
    shutil.copytree(SOURCES, work, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / REPORTS, tmp_path / REPORTS)
    environment = os.environ | {"PAGE_OUT": str(out), "MAP_OUT": str(map_out), "NO_COLOR": "1"}
    installed = run_npm(npm, ["ci", "--prefer-offline", "--no-audit", "--no-fund"], work, environment)
    if installed.returncode and _OFFLINE.search(installed.stderr):
        pytest.skip("the page's packages cannot be fetched here")
    assert installed.returncode == 0, installed.stderr
    built = run_npm(npm, ["run", "build"], work, environment)
    assert built.returncode == 0, built.stdout + built.stderr
    made = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    made["map.js"] = (map_out / "map.js").read_bytes()
    wanted = files() | {"map.js": (ROOT / REPORTS / "map.js").read_bytes()}
    assert made == wanted, "the bundles are not what web/ makes: run `npm ci && npm run build` in web/"


def run_npm(
    npm: str, arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [npm, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
