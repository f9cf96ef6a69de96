"""The served model folder: one server, models that stay whole in memory, a way back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_http import Client

import bilinear
import bilinear.serving.messages as m
from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.errors import ParameterValueError
from bilinear.persistence import models
from bilinear.serving import create_app
from bilinear.serving.answers import serving_model
from bilinear.serving.answers.service import Service
from bilinear.serving.feedback.store import open_store
from bilinear.serving.lifecycle import retraining
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.lifecycle.model_history import is_whole
from bilinear.serving.problems import Conflict


@pytest.fixture
def service(model_folder: Path, tmp_path: Path) -> Iterator[Service]:
    models = ModelFolder(model_folder)
    models.lock()
    made = Service(models, open_store(f"sqlite:///{tmp_path / 'feedback.db'}"))
    yield made
    made.store.close()
    models.close()


@pytest.fixture
def other(table: Interactions) -> bilinear.BiasModel:
    return bilinear.BiasModel(l2_biases=1.0).fit(table)


def history(folder: Path) -> list[Path]:
    return sorted(folder.with_name(f"{folder.name}.history").iterdir())


def tensors_of(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


# One server


def test_a_second_server_on_a_folder_is_refused_by_whatever_name_until_the_first_ends(
    model_folder: Path, tmp_path: Path
) -> None:
    def start(model: Path, **how: bool) -> None:
        app = create_app(model, store=f"sqlite:///{tmp_path / 'f.db'}", **how)
        app.context.service.store.close()
        app.context.service.models.close()

    link = tmp_path / "current"
    link.symlink_to(model_folder)
    first = ModelFolder(model_folder)
    first.lock()
    for name in (model_folder, link):
        with pytest.raises(Conflict, match=r"another server has the model folder .*--read-only-model"):
            start(name)
        start(name, read_only_model=True)
    first.close()
    start(link)
    with pytest.raises(ParameterValueError, match="read-only cannot be trained"):
        create_app(model_folder, read_only_model=True, retrain_every=3600)


def test_changes_of_a_folder_that_a_server_has_are_refused_to_others(
    service: Service, model_folder: Path, other: bilinear.BiasModel
) -> None:
    second = Service(ModelFolder(model_folder), service.store)
    other.save(model_folder)
    service.reload(m.Nothing())
    with pytest.raises(Conflict, match="another server") as refused:
        second.rollback(m.Nothing())
    assert refused.value.code == "locked"


def test_a_server_holds_a_history_that_was_removed_and_made_again(
    service: Service, model_folder: Path, other: bilinear.BiasModel
) -> None:
    shutil.rmtree(model_folder.with_name("model.history"))
    other.save(model_folder)
    service.reload(m.Nothing())
    with pytest.raises(Conflict):
        ModelFolder(model_folder).lock()


def test_a_folder_served_read_only_stays_as_it_is_and_can_be_reloaded(
    service: Service, model_folder: Path, other: bilinear.BiasModel
) -> None:
    reader = Service(ModelFolder(model_folder, read_only=True), service.store)
    before = service.serving_model.version
    other.save(model_folder)
    kept = history(model_folder)
    assert reader.reload(m.Nothing()).before == before
    for change in (lambda: reader.rollback(m.Nothing()), reader.models.candidate):
        with pytest.raises(Conflict) as refused:
            change()
        assert refused.value.code == "read_only"
    assert history(model_folder) == kept


# The history


def test_the_live_model_is_in_the_history_without_taking_room(service: Service, model_folder: Path) -> None:
    (entry,) = history(model_folder)
    assert entry.name == f"000001-{service.serving_model.version}"
    assert tensors_of(entry).samefile(tensors_of(model_folder))


def test_a_model_that_was_trained_over_before_a_restart_can_be_rolled_back_to(
    service: Service, model_folder: Path, other: bilinear.BiasModel
) -> None:
    before = service.serving_model.version
    service.models.close()
    other.save(model_folder)
    again = Service(ModelFolder(model_folder), service.store)
    assert again.rollback(m.Nothing()).model == before


def test_an_entry_that_a_full_disk_left_empty_is_no_model(
    service: Service, model_folder: Path, other: bilinear.BiasModel
) -> None:
    before = service.serving_model.version
    other.save(model_folder)
    live = service.reload(m.Nothing()).model
    empty = history(model_folder)[-1]
    shutil.rmtree(empty)
    empty.mkdir()
    assert service.info(m.Nothing()).n_earlier == 1
    service.models.keep(service.serving_model.model, live)
    assert history(model_folder)[-1].name == f"000003-{live}"
    assert is_whole(history(model_folder)[-1])
    assert service.rollback(m.Nothing()).model == before
    service.models.close()
    service.models.lock()
    assert not empty.exists()


def test_rollback_passes_over_a_damaged_model(
    service: Service, model_folder: Path, table: Interactions, other: bilinear.BiasModel
) -> None:
    first = service.serving_model.version
    other.save(model_folder)
    second = service.reload(m.Nothing()).model
    bilinear.BiasModel(l2_biases=2.0).fit(table).save(model_folder)
    service.reload(m.Nothing())
    (damaged,) = [entry for entry in history(model_folder) if entry.name.endswith(second)]
    tensors = tensors_of(damaged)
    tensors.write_bytes(bytes(tensors.stat().st_size))
    assert service.rollback(m.Nothing()).model == first


def test_what_killed_servers_left_goes_at_the_next_start(service: Service, model_folder: Path) -> None:
    kept = history(model_folder)
    service.models.close()
    folder = model_folder.with_name("model.history")
    for name in ("candidate", ".candidate-" + "0" * 16, ".new-" + "a" * 16, ".dropped-" + "f" * 16):
        shutil.copytree(model_folder, folder / name)
    (folder / f".{'0' * 16}.bilinear-tmp").touch()
    (folder / "notes.txt").touch()
    service.models.lock()
    assert history(model_folder) == sorted([*kept, folder / "notes.txt"])


def test_a_candidate_goes_live_only_with_the_content_that_was_measured(
    service: Service, other: bilinear.BiasModel
) -> None:
    before = service.serving_model.version
    candidate = service.models.candidate()
    assert candidate != service.models.candidate()
    other.save(candidate)
    with pytest.raises(Conflict, match="another model than the one that was measured"):
        service.adopt(candidate, "0" * 64)
    assert service.serving_model.version == before
    assert service.models.load()[1] == before


# In memory


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list mapped files")
def test_no_file_of_the_model_is_mapped(service: Service, model_folder: Path) -> None:
    """So that the system has no page of it to miss: a process ends (SIGBUS) when it touches one."""
    assert str(model_folder) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("harm", ["cut short", "overwritten", "overwritten, times kept", "gone"])
def test_harm_to_the_files_is_seen_and_the_model_in_memory_answers_and_can_be_gone_back_to(
    service: Service, model_folder: Path, other: bilinear.BiasModel, harm: str
) -> None:
    test_no_file_of_the_model_is_mapped(service, model_folder)
    version, tensors = service.serving_model.version, tensors_of(model_folder)
    before = service.recommend(m.RecommendBody("user 0"))
    assert service.models.condition(version) == "as loaded"
    times = tensors.stat()
    if harm == "cut short":
        os.truncate(tensors, 100)
    elif harm == "gone":
        shutil.rmtree(model_folder)
    else:
        with tensors.open("r+b") as file:
            file.write(bytes(times.st_size))
        if harm.endswith("kept"):
            os.utime(tensors, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert service.models.condition(version) == "damaged"
    assert service.recommend(m.RecommendBody("user 0")) == before
    with pytest.raises(Conflict):
        service.reload(m.Nothing())
    other.save(model_folder)
    assert service.models.condition(version) == "replaced"
    service.reload(m.Nothing())
    assert service.models.condition(service.serving_model.version) == "as loaded"
    service.rollback(m.Nothing())
    assert service.recommend(m.RecommendBody("user 0")).items == before.items


def test_files_that_are_touched_or_linked_are_as_loaded(service: Service, model_folder: Path) -> None:
    tensors_of(model_folder).touch()
    (model_folder / "copy").hardlink_to(model_folder / "model.json")
    assert service.models.condition(service.serving_model.version) == "as loaded"


def test_a_model_that_would_take_most_of_the_memory_is_mapped(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = tensors_of(model_folder).stat().st_size
    for limit, in_memory in ((4 * size, True), (size, False)):
        monkeypatch.setenv("BILINEAR_MEMORY_LIMIT", str(limit))
        model, _ = ModelFolder(model_folder).load()
        base = model.parameters_.item_factors
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert (base.base is None) is in_memory


@pytest.mark.parametrize("make", [bilinear.ImplicitALS(4, n_epochs=2, rng=0), bilinear.RandomWalk()])
def test_a_large_model_is_served_unread_from_its_file_and_answers_as_it_did(
    make: bilinear.RankingModel, table: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make.fit(table)
    model.item_texts_ = {"title": PackedText.of(f"Film {n}" for n in range(30))}
    asked = {
        "similar": m.SimilarQuery("item/3 ü"),
        "search": m.SearchQuery("film 1"),
        "item": m.ItemQuery("item/3 ü"),
        "users": m.UsersQuery("user 1", limit=5, offset=2),
        "recommend_session": m.SessionBody([m.ItemRating("item/3 ü", 1.0)]),
        **{f"recommend {user}": m.RecommendBody(user) for user in ("user 7", "nobody")},
    }
    answers = []
    for large in (False, True):
        monkeypatch.setattr(models, "LARGE", 0 if large else 1 << 29)
        monkeypatch.setattr(serving_model, "_MANY_ITEMS", 0 if large else 1 << 29)
        folder = tmp_path / f"large {large}"
        model.save(folder)
        served = Service(ModelFolder(folder), open_store(f"sqlite:///{tmp_path / 'feedback.db'}"))
        served.serving_model.version = ""
        answers.append({name: getattr(served, name.split()[0])(query) for name, query in asked.items()})
        if large:
            opened = served.serving_model.model
            parameters = opened.dot_product()
            assert parameters is None or opened.screened_of(parameters) is not None
            assert parameters is None or opened.screened_of(parameters.copy()) is None
            prepared = opened.item_totals()
            for mine, theirs in zip(prepared, model.item_totals(), strict=True):
                np.testing.assert_array_equal(mine, theirs)
                assert not mine.flags.owndata
        served.store.close()
    (before, now) = (
        [(one.item, round(one.similarity, 5)) for one in of.pop("similar").items] for of in answers
    )
    assert before == now  # whose last bits are those of another kernel
    assert answers[0] == answers[1]
    tensors = tensors_of(folder)
    with tensors.open("r+b") as file:  # what is not looked at until the health is asked for
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    damaged = ModelFolder(folder)
    assert damaged.condition(damaged.load()[1]) == "damaged"


def test_health_tells_what_became_of_the_folder_and_the_old_model_answers(
    model_folder: Path, tmp_path: Path
) -> None:
    ask = Client(create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}"))
    assert ask("GET", "/health/ready").json()["model_folder"] == "as loaded"
    os.truncate(tensors_of(model_folder), 100)
    ready = ask("GET", "/health/ready")
    assert (ready.status_code, ready.json()["model_folder"]) == (200, "damaged")
    assert ask("GET", "/v1/recommendations?user=user+1").status_code == 200
    ask.close()


def test_the_licences_of_the_page_are_served(model_folder: Path, tmp_path: Path) -> None:
    ask = Client(create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}"))
    licenses = ask("GET", "/licenses")
    assert licenses.headers["content-type"].startswith("text/plain")
    assert "Preact" in licenses.text
    ask.close()


# The process that trains


def test_a_server_that_ends_ends_its_training_and_leaves_nothing_of_it(
    model_folder: Path, tmp_path: Path
) -> None:
    ask = Client(create_app(model_folder, store=f"sqlite:///{tmp_path / 'f.db'}"))
    before = history(model_folder)

    async def start_and_end() -> None:
        retraining = ask.app.context.retraining
        await retraining.start()
        while retraining._process is None:
            await asyncio.sleep(0)
        await retraining.stop()
        assert retraining._process.returncode not in (None, 0)
        assert retraining.state.state == "failed"

    ask.loop.run_until_complete(start_and_end())
    assert history(model_folder) == before
    ask.close()


def test_the_training_takes_no_code_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "bilinear", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("import sys; sys.exit('code of the current folder')")
    paths = os.environ.get("PYTHONPATH", str(Path(bilinear.__file__).parents[1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep + paths)
    order = {"model": "nothing", "store": "sqlite:///none.db", "out": "out", "max_worse": 0, "bound": None}
    child = subprocess.run(
        retraining._COMMAND,
        input=json.dumps(order) + "\n" + "more" * 10,
        env=retraining._environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    assert "code of the current folder" not in child.stderr


def test_the_training_ends_with_the_server() -> None:
    """The system closes the pipes of a process that ends, however it ends."""
    script = """
import threading, bilinear.serving.lifecycle.retrain_process as retrain
retrain.carry_out = lambda order: print(order, flush=True) or threading.Event().wait()
retrain.main()
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b'"an order"\n')
    child.stdin.flush()
    assert child.stdout.readline() == b"an order\n"
    assert child.poll() is None
    child.stdin.close()
    assert child.wait() == 1
    child.stdout.close()
