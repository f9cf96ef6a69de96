"""The OpenAPI document against a listening server: schemathesis asks what it allows and what it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import bilinear
from bilinear.serving import create_app
from bilinear.serving.http.openapi import document
from bilinear.serving.http.operations import OPERATIONS

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

SCHEMA = schemathesis.openapi.from_dict(document(OPERATIONS, "test"))
ASKED = {
    operation.ok().label: operation.ok()
    for operation in SCHEMA.get_all_operations()
    if operation.ok().label != "POST /v1/model/retrain"  # a process of its own: test_service.py has it
}


@pytest.fixture(scope="module")
def address(
    rating_model: bilinear.MatrixFactorization, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("served")
    rating_model.save(folder / "model")
    app = create_app(folder / "model", store=f"sqlite:///{folder / 'feedback.db'}")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_document_names_every_operation() -> None:
    assert len(ASKED) == len(OPERATIONS) - 1


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        (label, mode)
        for label in ASKED
        for mode in schemathesis.GenerationMode
        # its lines are a text to the document, so that any text is as good as another
        if (label, mode.value) != ("POST /v1/feedback/import", "positive")
        and label != "POST /v1/properties/import"
    ],
)
def test_answers_are_as_documented(label: str, mode: Any, address: str) -> None:
    @settings(
        max_examples=8,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(ASKED[label].as_strategy(generation_mode=mode))
        case.call_and_validate(base_url=address)

    try:
        ask()
    except Exception as error:
        if type(error).__name__ != "Unsatisfiable":  # nothing wrong can be said where nothing is asked
            raise
