"""The files of deploy/: each is parsed, fits the others and the command line, and runs where its tool is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from bilinear.cli.app import app
from bilinear.serving import create_app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(ROOT / "tools"))
from try_dockerfile import instructions  # noqa: E402


def arguments_of_serve(words: list[str]) -> dict[str, Any]:
    """Arguments of `bilinear serve`, parsed as the command line does."""
    assert words[0] == "serve"
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    found: dict[str, Any] = command.make_context("serve", words[1:]).params
    return found


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    steps = instructions((DEPLOY / "Dockerfile").read_text())
    last = steps[max(n for n, (name, _) in enumerate(steps) if name == "FROM") :]
    said = dict(last)
    uid, gid = map(int, said["USER"].split(":"))
    assert uid >= 1000
    assert gid >= 1000
    assert (
        f"--chown={said['USER']} /data /data"
        in [rest.partition(" ")[2] for name, rest in last if name == "COPY"][1]
    )
    assert "/health/live" in said["HEALTHCHECK"]
    assert not any(name == "RUN" for name, _ in last)  # what builds stays in the stage before
    given = arguments_of_serve(yaml.safe_load(said["CMD"]))
    assert (given["host"], given["port"]) == ("0.0.0.0", int(said["EXPOSE"]))


def test_the_image_is_built_from_what_is_in_the_checkout_and_gets_into_the_context() -> None:
    sources = [
        word
        for name, rest in instructions((DEPLOY / "Dockerfile").read_text())
        if name == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    ]
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    assert set(sources) == let_in
    assert all((ROOT / name).exists() for name in sources)


def test_services_of_compose_fit_one_another() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    given = arguments_of_serve(services["bilinear"]["command"])
    inside = {name: each["networks"] for name, each in services.items()}
    assert given["trusted_proxy"] == [inside["nginx"]["inside"]["ipv4_address"]]
    assert (
        services["nginx"]["environment"]["UPSTREAM"] == f"{inside['bilinear']['inside']['ipv4_address']}:8000"
    )
    assert given["store"].split("@")[1] == "postgres/" + services["postgres"]["environment"]["POSTGRES_USER"]
    assert given["token_file"] == Path("/run/secrets") / services["bilinear"]["secrets"][0]
    assert [name for name, each in services.items() if "ports" in each] == [
        "nginx"
    ]  # nothing beside TLS is open
    assert services["bilinear"]["read_only"] is True
    assert services["bilinear"]["volumes"] == ["model:/data"]  # the one place that is written to
    named = {
        volume.split(":")[0] for each in services.values() for volume in each["volumes"] if volume[0] != "."
    }
    assert named == set(compose["volumes"])
    template = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "nginx.conf").read_text()))
    assert template == set(services["nginx"]["environment"])


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is on this machine."""
    text = (DEPLOY / "bilinear.service").read_text()
    assert "ExecStart=/opt/bilinear/bin/bilinear " in text
    path = tmp_path / "bilinear.service"
    path.write_text(text.replace("/opt/bilinear/bin/bilinear", shutil.which("true") or "/bin/true"))
    return path


def test_the_unit_starts_the_server_with_arguments_that_it_takes(unit: Path) -> None:
    parsed = ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit.read_text().replace("\\\n", " "))
    service = parsed["Service"]
    given = arguments_of_serve(service["ExecStart"].split()[1:])
    credential, _, source = service["LoadCredential"].partition(":")
    assert str(given["token_file"]) == f"%d/{credential}"
    assert source == "/etc/bilinear/tokens.txt"
    assert given["host"] == given["trusted_proxy"][0] == "127.0.0.1"
    assert given["store"] == f"sqlite:///{service['WorkingDirectory']}/feedback.db"
    assert "MemoryDenyWriteExecute" not in service  # kernels are compiled


@pytest.mark.parametrize("arguments", [["verify"], ["security", "--offline=true", "--threshold=20"]])
def test_systemd_takes_the_unit(unit: Path, arguments: list[str]) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    done = subprocess.run(
        [program, "--no-pager", *arguments, unit], capture_output=True, text=True, check=False
    )
    if "Unknown option" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is too old (250 or newer)")
    assert done.returncode == 0, done.stdout + done.stderr
    if arguments == ["verify"]:
        assert not done.stderr.strip()  # unknown settings are warnings


def test_what_the_guide_says_to_watch_is_what_metrics_has(model_folder: Path, tmp_path: Path) -> None:
    app = create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}")
    app.context.metrics.count("recommend", 200, 0.01)
    text = app.context.metrics.text(app.context.gauges()).decode()
    app.context.service.store.close()
    app.context.service.models.close()
    has = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    guide = (ROOT / "docs" / "guide" / "deployment.md").read_text()
    assert has == set(mentioned(guide))


def mentioned(guide: str) -> Iterator[str]:
    """Metrics that the guide names; a histogram by its buckets too."""
    for name in re.findall(r"\b(?:bilinear|process)_[a-z_]+\b", guide):
        yield name.removesuffix("_bucket")
