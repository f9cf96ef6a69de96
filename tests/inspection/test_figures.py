"""The map as an image, and the small charts of a report."""

from __future__ import annotations

import itertools
import os
import re
import struct
import sys

import numpy as np
import pytest
from inspection_cases import build_model

from bilinear.errors import MissingDependencyError, ParameterValueError
from bilinear.inspection import charts, item_map
from bilinear.inspection.map_figure import _free_place
from bilinear.inspection.palette import GENRES_DARK, GENRES_LIGHT


def drawn_map(**arguments):
    return item_map(build_model(**arguments), min_ratings=1)


def test_png_has_its_signature_and_size(tmp_path):
    path = tmp_path / "map.png"
    drawn_map().to_png(path, dpi=50)
    written = path.read_bytes()
    assert written[:8] == b"\x89PNG\r\n\x1a\n"
    assert written[12:16] == b"IHDR"
    width, height = struct.unpack(">II", written[16:24])
    assert width == 12 * 50
    assert 6.5 * 50 <= height <= 11 * 50
    assert len(written) > 5_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "titles",
    [
        [rf"$\frac{{$ {n}" for n in range(60)],
        [f"七人の侍 {n}\n\u202e\x00" for n in range(60)],
        ["x" * 500] * 60,
    ],
)
def test_titles_are_drawn_as_they_are(titles, tmp_path):
    found = drawn_map(titles=titles, genres=["$_$|Drama"] * 60)
    found.to_png(tmp_path / "map.png", dpi=40)
    labels = [text.get_text() for text in found.figure().axes[0].texts]
    assert sum(label[:4] in {title[:4] for title in titles} for label in labels) >= 5


@pytest.mark.parametrize("seed", range(3))
def test_no_two_names_overlap_nor_leave_the_axes(seed):
    found = drawn_map(seed=seed, n_items=200, titles=[f"A title of some length {n}" for n in range(200)])
    figure = found.figure(n_labels=40)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text().startswith("A title")]
    assert len(boxes) >= 15
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    inside = axes.get_window_extent()
    for box in boxes:
        assert inside.x0 - 1 <= box.x0
        assert box.x1 <= inside.x1 + 1
        assert inside.y0 - 1 <= box.y0
        assert box.y1 <= inside.y1 + 1


def test_a_name_moves_to_the_side_that_is_free():
    inside, wide, high = (0, 0, 100, 100), 30, 10
    assert _free_place((20, 50), 5, wide, high, [], inside) == (25, 45)  # right of the point
    assert _free_place((90, 50), 5, wide, high, [], inside) == (55, 45)  # left: the frame ends
    assert _free_place((50, 50), 5, wide, high, [(60, 40, 70, 60)], inside) == (15, 45)  # left: a name
    both = [(60, 40, 70, 52), (30, 40, 40, 52)]
    assert _free_place((50, 50), 5, wide, high, both, inside) == (35, 55)  # above
    assert _free_place((50, 50), 5, wide, high, [(0, 0, 100, 100)], inside) is None
    assert _free_place((50, 2), 5, 80, high, [], inside) == (10, 7)  # too wide for the sides
    assert _free_place((50, 98), 5, 80, high, [], inside) == (10, 83)


def test_the_most_rated_items_are_named():
    found = drawn_map(titles=[f"title {n}" for n in range(60)])
    labels = {text.get_text() for text in found.figure(n_labels=8).axes[0].texts}
    most = sorted(range(60), key=lambda at: (-found.n_ratings[at], at))[:8]
    named = {title for title in labels if title.startswith("title ")}
    assert named <= {found.titles[at] for at in most}
    assert len(named) >= 5


def test_more_ratings_make_larger_points_and_distances_are_true_both_ways():
    found = drawn_map()
    axes = found.figure(n_labels=0).axes[0]
    points = axes.collections[0]
    order = np.argsort(-found.n_ratings, kind="stable")
    np.testing.assert_allclose(points.get_offsets(), found.coordinates[order])
    assert (np.diff(points.get_sizes()) <= 0).all()
    assert axes.get_aspect() == 1


def test_without_genres_the_colour_is_the_bias():
    figure = drawn_map().figure(n_labels=0)
    points = figure.axes[0].collections[0]
    assert points.get_array() is not None
    assert figure.axes[0].get_legend() is None
    genres = [["Comedy", "Drama|War", ""][n % 3] for n in range(60)]
    legend = drawn_map(genres=genres).figure(n_labels=0).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["Comedy", "Drama", "other"]


def test_a_missing_matplotlib_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bilinear\[plot\]'"):
        drawn_map().to_png(tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ParameterValueError, match=r"map\.svg.*\.png"):
        drawn_map().to_png(tmp_path / "map.svg")


def test_a_png_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        drawn_map().to_png(path, dpi=40)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_two_palettes_have_the_same_length():
    assert len(GENRES_LIGHT) == len(GENRES_DARK) == len(set(GENRES_LIGHT))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.861, 0.98, [0.85, 0.9, 0.95, 1.0]),
        (-3.0, 40.0, [-10.0, 0.0, 10.0, 20.0, 30.0, 40.0]),
        (2.0, 2.0, [2.0, 2.5]),
    ],
)
def test_ticks_are_round_numbers_around_the_values(low, high, expected):
    np.testing.assert_allclose(charts._ticks(low, high), expected)


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5, 0.5], [3.0, 1.0, 2.0], [1e-9, 2e-9], [-1.0, 1e6]])
def test_a_line_stays_inside_its_frame(values):
    drawn = charts.lines({"a": list(enumerate(values, 1))}, "what", "label", "epoch", marked=1)
    points = re.search(r'points="([^"]*)"', drawn)[1].split()
    places = np.array([[float(number) for number in point.split(",")] for point in points])
    assert places.shape == (len(values), 2)
    assert (places >= 0).all()
    assert (places[:, 0] <= 420).all()
    assert (places[:, 1] <= 230).all()
    rising = np.argsort(values, kind="stable")
    assert (np.diff(places[rising, 1]) <= 0).all()  # larger values lie higher


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, 4.0, 2.0], [5.0]])
def test_bars_are_as_high_as_their_values(values):
    drawn = charts.bars({f"<{n}>": value for n, value in enumerate(values)}, "what")
    heights = [float(found) for found in re.findall(r'class="bar"[^>]*? height="([\d.]+)"', drawn)]
    np.testing.assert_allclose(np.array(heights) * max(values), np.array(values) * max(heights), atol=0.5)
    assert "<0>" not in drawn
    assert "&lt;0&gt;" in drawn
