"""bilinear lab: report, certify, verify and race as commands."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from command_line import Run

from bilinear import load

FAST = ("--set", "l2=1", "--set", "l2_biases=0.8", "--quiet")


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def certified(ratings_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `best` and `best-proof`, made from Python as the command makes them."""
    from bilinear import lab, read_ratings

    folder = tmp_path_factory.mktemp("certified")
    found = lab.certify(read_ratings(ratings_file), penalty=lab.L2(1.0, 0.8, 0.5))
    found.to_model().save(folder / "best")
    lab.save_proof(found, folder / "best-proof")
    return folder


def test_report_from_the_verdict_down(run: Run, model: Path, ratings_file: Path, tmp_path: Path) -> None:
    before = bytes_of(model)
    page = tmp_path / "lab.html"
    ran = run("lab", "--html", page, model, ratings_file)
    assert ran.code == 0, ran.err
    assert ran.out.index("Where did training end?") < ran.out.index("How far from the global optimum?")
    assert ran.out.count("Next: ") == 7
    html = page.read_text()
    assert html.count("What to do next:") == 7
    assert html.count("<svg") >= 5
    assert "http://" not in html.replace("http-equiv", "")
    assert "https://" not in html
    assert "<script>" in html  # empty, with its hash in the policy: nothing else may run
    assert bytes_of(model) == before


def test_a_report_is_kept_with_the_model_when_asked(
    run: Run, model: Path, ratings_file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(model, mine)
    before = load(mine)
    ran = run("lab", mine, ratings_file, "--keep", "--quiet", "--products", 50)
    assert ran.code == 0, ran.err
    after = load(mine)
    assert after.report_["lab"]["verdict"] == "not converged"
    assert {name: after.report_[name] for name in before.report_} == before.report_
    for old, new in zip(
        before.parameters_.arrays().values(), after.parameters_.arrays().values(), strict=True
    ):
        assert (old == new).all()


def test_report_as_json(run: Run, model: Path, ratings_file: Path) -> None:
    ran = run("lab", "report", model, ratings_file, "--json", "--quiet", "--products", 50)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    found = json.loads(ran.out)
    assert found["verdict"] == "not converged"
    assert len(found["sections"]) == 7
    assert all(section["answer"] and section["next_step"] for section in found["sections"])


def test_everything_that_can_be_asked_for(run: Run, model: Path, ratings_file: Path, tmp_path: Path) -> None:
    before = bytes_of(model)
    options = ("--seeds", 2, "--control", "--study", "--html", tmp_path / "all.html")
    ran = run("lab", model, ratings_file, *options)
    assert ran.code == 0, ran.err
    assert "2 random starts end at" in ran.out
    assert "pure memorising" in ran.out
    assert "later than all others" in ran.out
    assert "shuffled" in ran.err
    assert bytes_of(model) == before


def test_other_ratings_are_refused(run: Run, model: Path, ratings_file: Path, tmp_path: Path) -> None:
    lines = ratings_file.read_text().splitlines()
    strangers = tmp_path / "strangers.csv"
    strangers.write_text("\n".join([lines[0], "nobody,1,4,5", *lines[1:50]]) + "\n")
    ran = run("lab", model, strangers)
    assert ran.code == 2
    assert "nobody" in ran.err
    assert "give the ratings it was trained on" in ran.err
    other = tmp_path / "other.csv"
    users = [line.split(",")[0] for line in lines[1:]]
    seen = {tuple(line.split(",")[:2]) for line in lines[1:]}
    pairs = [
        (user, item) for user in sorted(set(users)) for item in range(1, 41) if (user, str(item)) not in seen
    ]
    other.write_text("\n".join([lines[0], *(f"{user},{item},4,5" for user, item in pairs[:500])]) + "\n")
    ran = run("lab", model, other)
    assert ran.code == 2
    assert "only 0 are of pairs that the model was trained on" in ran.err
    assert "Traceback" not in ran.err


def test_more_ratings_than_it_was_trained_on_are_held_out(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    model = tmp_path / "part"
    settings = ("n_factors=2", "l2=0.5", "l2_biases=0.8", "solver__n_epochs=3")
    options = ("--quiet", "--no-refit", *(word for given in settings for word in ("--set", given)))
    assert run("train", ratings_file, "--out", model, *options).code == 0
    ran = run("lab", model, ratings_file, "--json", "--quiet")
    assert ran.code == 0, ran.err
    held_out = json.loads(ran.out)["sections"][2]["evidence"]
    assert held_out["test_rmse"] > held_out["train_rmse"] > 0
    stored = load(model).report_["scores"]["MatrixFactorization"]
    assert held_out["test_rmse"] == pytest.approx(stored["rmse"]["value"], rel=1e-5)


def test_certify_writes_a_model_and_a_proof(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "best"
    ran = run("lab", "certify", ratings_file, "--out", out, *FAST)
    assert ran.code == 0, ran.err
    assert "a global optimum" in ran.out
    assert ran.err == ""
    checked = run("lab", "verify", tmp_path / "best-proof", ratings_file)
    assert checked.code == 0
    assert "the proof holds" in checked.out
    assert run("recommend", out, "--user", "000").code == 0
    assert run("info", out).code == 0
    found = json.loads(run("lab", out, ratings_file, "--json", "--quiet").out)
    assert found["verdict"] == "certified global"
    assert found["sections"][1]["evidence"]["relative_gap"] <= 1e-6


def test_certify_that_is_cut_short_answers_no(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    ran = run("lab", "certify", ratings_file, "--out", tmp_path / "a", "--max-factors", 1, "--json", *FAST)
    assert ran.code == 1
    assert json.loads(ran.out)["optimal"] is False
    assert run("lab", "verify", tmp_path / "a-proof", ratings_file).code == 1


def test_verify_says_no_to_other_ratings(
    run: Run, certified: Path, ratings_file: Path, tmp_path: Path
) -> None:
    lines = ratings_file.read_text().splitlines()
    user, item, _, time = lines[1].split(",")
    changed = tmp_path / "changed.csv"
    changed.write_text("\n".join([lines[0], f"{user},{item},0.5,{time}", *lines[2:]]) + "\n")
    ran = run("lab", "verify", certified / "best-proof", changed, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["valid"] is False
    assert "not those it was made for" in " ".join(found["faults"])


def test_verify_wants_a_proof(run: Run, certified: Path, ratings_file: Path) -> None:
    ran = run("lab", "verify", certified / "best", ratings_file)
    assert ran.code == 2
    assert "expected a proof, got a model" in ran.err


def test_race_on_the_command_line(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "race.html"
    methods = ("--method", "sgd", "--method", "adam+one-cycle")
    small = ("--seeds", 2, "--n-epochs", 2, "--n-factors", 2)
    ran = run("lab", "race", ratings_file, *methods, *small, *FAST[:4], "--html", page)
    assert ran.code == 0, ran.err
    assert "adam+one-cycle" in ran.out
    assert "tuning its rate" in ran.err
    assert page.is_file()
    as_json = run("lab", "race", ratings_file, *methods, *small, "--json", *FAST)
    assert len(json.loads(as_json.out)["methods"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("MODEL", "RATINGS", "--html", "page.txt"), "ends in .html"),
        (("MODEL", "RATINGS", "--seeds", "1"), "n_seeds: expected 0, or 2 to 99"),
        (("MODEL", "nothing.csv"), "nothing.csv"),
        (("nothing", "RATINGS"), "nothing"),
        (("race", "RATINGS", "--method", "sgdd", "--method", "adam"), "expected an optimiser"),
        (("race", "RATINGS", "--tune", "test"), "objective or validation"),
        (("certify", "RATINGS", "--out", "x", "--set", "loss=absolute"), "loss='absolute'"),
        (
            ("certify", "RATINGS", "--out", "x", "--set", "l2=much", "--set", "l2_biases=1"),
            "L2 of factors is 'much'",
        ),
        (("certify", "RATINGS", "--out", "x", "--set", "l2=0", "--set", "l2_biases=1"), "without an L2"),
        (("certify", "RATINGS", "--out", "x", "--set", "n_factors=3"), "--set n_factors"),
        (("certify", "RATINGS", "--out", "x", "--proof", "x"), "folder of the model"),
    ],
)
def test_mistakes_are_told_in_one_line(
    run: Run,
    model: Path,
    ratings_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": str(model), "RATINGS": str(ratings_file)}
    ran = run("lab", *(places.get(argument, argument) for argument in arguments))
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert not list(tmp_path.iterdir())


def test_a_model_named_like_a_command_is_reached_by_its_path(
    run: Run, model: Path, ratings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "race")
    ran = run("lab", "./race", ratings_file, "--products", 5, "--quiet")
    assert ran.code == 0, ran.err
    assert "Where did training end?" in ran.out


def test_contrast_on_the_command_line(run: Run, ratings_file: Path) -> None:
    small = "--seeds", 1, "--n-epochs", 1, "--n-factors", 2
    ran = run("lab", "contrast", ratings_file, *small)
    assert ran.code == 0, ran.err
    assert "network without ReLU" in ran.out
    found = json.loads(run("lab", "contrast", ratings_file, *small, "--quiet", "--json").out)
    assert found["n_test"] == 180
    assert found["models"]["dot product"]["difference"] is None
