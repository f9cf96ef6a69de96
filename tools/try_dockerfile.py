"""Executes the steps of deploy/Dockerfile in a bare folder, without Docker, and asks the server they make.

    python tools/try_dockerfile.py

Absolute paths lie in a temporary folder; stages share it, as what one takes from another keeps its path. The
user, volumes and ports are not set up. Compiled kernels are kept where the checkout keeps its own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KERNELS = ROOT / "src" / "bilinear" / "kernels" / "__pycache__"
_PATHS = re.compile(r"(?<![\w./}])/(?=opt/|data\b|build\b|run/secrets\b)")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest of its line) of a Dockerfile, continued lines joined, comments left out."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = kept.replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


class Room:
    """A folder that takes the place of the image's root."""

    def __init__(self, root: Path) -> None:
        self.root, self.workdir = root, root
        self.environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment |= {"PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.environment["NUMBA_CACHE_DIR"] = os.environ.get("NUMBA_CACHE_DIR", str(KERNELS))
        self.health: list[str] = []
        self.entrypoint: list[str] = []
        self.command: list[str] = []

    def inside(self, text: str) -> str:
        return _PATHS.sub(f"{self.root}/", text)

    def do(self, name: str, rest: str) -> None:
        """Executes one instruction."""
        match name:
            case "FROM" | "ARG" | "USER" | "VOLUME" | "EXPOSE":
                pass
            case "WORKDIR":
                self.workdir = Path(self.inside(rest))
                self.workdir.mkdir(parents=True, exist_ok=True)
            case "COPY":
                self.copy([word for word in rest.split() if not word.startswith("--chown=")])
            case "ENV":
                for word in shlex.split(rest):
                    key, _, text = word.partition("=")
                    self.environment[key] = self.inside(text).replace("$PATH", self.environment["PATH"])
            case "RUN":
                self.call(self.inside(rest), shell=True)
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD")[2])
            case "ENTRYPOINT":
                self.entrypoint = json.loads(rest)
            case "CMD":
                self.command = json.loads(self.inside(rest))
            case _:
                sys.exit(f"{DOCKERFILE}: {name} is not known here; teach it to {Path(__file__).name}")

    def copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            _, source, target = words
            if source != target or not Path(self.inside(source)).exists():
                sys.exit(f"COPY {' '.join(words)}: no such path in the stage before, or another name for it")
            return
        *sources, target = words
        for source in sources:
            place = self.workdir / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / source, place)

    def run(self, *arguments: str) -> None:
        """The image's command with other arguments, as `docker run IMAGE ARGUMENTS`."""
        self.call([*self.entrypoint, *arguments], shell=False)

    def call(self, command: str | list[str], *, shell: bool) -> None:
        done = subprocess.run(
            command,
            shell=shell,
            cwd=self.workdir,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")

    def serve(self) -> None:
        """The image's command as it stands, until its own health check is content."""
        tokens = self.root / "run" / "secrets" / "tokens"
        tokens.parent.mkdir(parents=True)
        tokens.write_text(f"write {secrets.token_hex(24)}\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        check = [word.replace(":8000/", f":{port}/") for word in self.health]
        assert check != self.health
        if self._healthy(check):
            sys.exit("the health check is content before there is a server")
        server = subprocess.Popen(
            [*self.entrypoint, *self.command, "--port", port], cwd=self.workdir, env=self.environment
        )
        try:
            patience = time.monotonic() + 120
            while not self._healthy(check):
                if server.poll() is not None or time.monotonic() > patience:
                    sys.exit(f"the server is not healthy; its exit code: {server.poll()}")
                time.sleep(0.2)
        finally:
            server.send_signal(signal.SIGTERM)  # as `docker stop` does
            code = server.wait(30)
        if code not in (0, -signal.SIGTERM):
            sys.exit(f"the server ended with {code} on SIGTERM")

    def _healthy(self, check: list[str]) -> bool:
        done = subprocess.run(check, cwd=self.workdir, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0


def main() -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        for name, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
            room.do(name, rest)
        room.run("data", "synthetic", "catalogue", "--n-ratings", "5000")
        room.run(
            "train",
            "catalogue/ratings.csv",
            "--items",
            "catalogue/movies.csv",
            "--model",
            "biases",
            "--out",
            "model",
        )
        room.serve()
    seconds = time.perf_counter() - start
    print(f"{DOCKERFILE.relative_to(ROOT)}: its steps made a server that is healthy ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
