"""The page about the thread: no number written by hand, no sentence that its numbers do not bear out."""

from __future__ import annotations

import re
import string
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

THREAD = Path(__file__).parents[2] / "docs" / "thread"
sys.path.insert(0, str(THREAD))

import build  # noqa: E402
import measurements  # noqa: E402
import pictures  # noqa: E402


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """The same measurements on fewer ratings, with fewer penalties and starts."""
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(measurements, "PENALTIES", measurements.PENALTIES[::2])
        fewer.setattr(measurements, "STARTS", 10)
        return measurements.measure(measurements.synthetic(6_000), n_factors=16, epochs=(10, 40, 160))


@pytest.fixture(scope="module")
def template() -> list[tuple[str, str | None]]:
    """(text, field after it) of the template."""
    text = (THREAD / "template.md").read_text(encoding="utf-8")
    return [(literal, field) for literal, field, _, _ in string.Formatter().parse(text)]


def test_no_number_of_the_template_is_literal(template: list[tuple[str, str | None]]) -> None:
    words = " ".join(literal for literal, _ in template)
    assert re.search(r"\d", re.sub(r"```.*?```", "", words, flags=re.S))  # in code, such as x * y + 3
    plain = re.sub(r"```.*?```|`[^`]*`", "", words, flags=re.S).replace("L2", "")
    plain = plain.replace('"x * y', "").replace("(1, 1)", "").replace("(-1, -1)", "")
    assert not re.findall(r".{0,30}\d.{0,30}", plain)


def test_the_page_that_is_there_has_the_words_of_the_template(
    template: list[tuple[str, str | None]],
) -> None:
    page = " ".join((THREAD / "README.md").read_text(encoding="utf-8").split())
    at = 0
    for literal, _ in template:
        words = " ".join(literal.split())
        found = page.find(words, at)
        assert found >= 0, words
        at = found + len(words)


def test_fewer_ratings_measure_every_field_and_bear_out_the_words(values: dict[str, Any]) -> None:
    weak = {claim for claim, holds in build.claims(values).items() if not holds}
    assert weak <= {
        # what needs as many ratings and epochs as the page has
        "a constant rate ends in a tremble, a falling one at rest",
        "a loss of zero throws away what was learned",
        "shuffled ratings are memorised",
        "the dot product has more interaction and less error",
    }
    text = (THREAD / "template.md").read_text(encoding="utf-8").format_map(build.fields(values))
    assert "nan" not in re.sub(r"[Nn]aN", "", text).split()


def test_a_page_whose_words_are_wrong_is_not_written(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the optimum is proved"):
        build.render(values | {"proof_valid": False})
    with pytest.raises(ValueError, match="no chord of a half rises"):
        build.render(values | {"half_above": 1})


def test_differences_beyond_rounding_are_found() -> None:
    page = "Loss 4,358.7 and 2e-07\n\n| 3 | -0.7441 |"
    assert not build.differences(page, page.replace("0.7441", "0.7439").replace("2e-07", "3e-07"))
    assert len(build.differences(page, page.replace("4,358.7", "4,958.7"))) == 1
    assert len(build.differences(page, page.replace("-0.7441", "0.7441"))) == 1
    assert len(build.differences(page, page.replace("Loss", "Gain"))) == 1
    assert build.differences(page, page + "\nmore") == ["3 lines and 4"]


def test_wrapping_makes_no_lists_and_cuts_no_code() -> None:
    text = "word " * 21 + "penalty 1. Then `a + b` follows."
    assert "\n1." not in build._wrapped(text)
    assert "penalty 1. Then `a + b`" in " ".join(build._wrapped(text).split("\n"))
    for width in range(14, 24):
        lines = build._wrapped("word " * width + "`a * b + c` - 2) and").splitlines()
        assert not any(line.startswith(("- ", "2)")) for line in lines)
        assert any("`a * b + c`" in line for line in lines)


def test_pictures_are_vector_graphics_and_the_same_each_time(values: dict[str, Any], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pictures.draw(values, tmp_path / folder)
    for name in ("slice", "convergence", "held_out"):
        drawn = [(tmp_path / folder / f"{name}.svg").read_text(encoding="utf-8") for folder in ("one", "two")]
        assert drawn[0] == drawn[1]
        assert ElementTree.fromstring(drawn[0]).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in drawn[0]
        assert "currentColor" in drawn[0]


def test_small_tables_are_what_they_say() -> None:
    problem = measurements._small([[np.nan, 1], [1, 0]], 0.0)
    assert problem.n_ratings == 3
    assert problem.value(problem.zeros(1)) == 1
