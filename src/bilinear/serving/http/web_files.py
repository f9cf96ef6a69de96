"""The page's files, read once: what is not among them does not exist, whatever a path says."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "web"
LICENSES = Path(__file__).parents[1] / "licenses.txt"
"""Licence texts of what the page bundles."""
_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/x-icon",
    ".woff2": b"font/woff2",
    ".txt": b"text/plain; charset=utf-8",
    ".webmanifest": b"application/manifest+json",
}
_PLAIN = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>bilinear</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="docs.css"><main>
<h1>bilinear</h1>
<p>The server runs. This installation has no page; the <a href="docs">API</a> is all there.</p>
</main>"""


@dataclass(frozen=True)
class WebFile:
    """`packed` is the content under gzip, or None where that saves nothing."""

    content: bytes
    packed: bytes | None
    kind: bytes
    tag: bytes

    @classmethod
    def of(cls, content: bytes, kind: bytes) -> WebFile:
        packed = gzip.compress(content, 9, mtime=0)
        tag = b'"' + hashlib.sha256(content).hexdigest()[:32].encode() + b'"'
        return cls(content, packed if len(packed) < len(content) else None, kind, tag)


def web_files(folder: Path = FOLDER) -> dict[str, WebFile]:
    """Files by path; `/` is index.html."""
    files = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and path.suffix in _KINDS and not path.is_symlink():
            name = "/" + path.relative_to(folder).as_posix()
            files[name] = WebFile.of(path.read_bytes(), _KINDS[path.suffix])
    files["/"] = files.get("/index.html", WebFile.of(_PLAIN, _KINDS[".html"]))
    return files
