"""The written pages: whole, self-contained, and harmless whatever a title says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from inspection_cases import build_model

from bilinear.errors import NotFittedError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.inspection import item_map, map_html, report_html
from bilinear.inspection.map_html import N_NEAREST
from bilinear.inspection.page import asset, embedded

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>\u2028alert(2)//\u2029",
    "a & b &lt;b&gt;",
    "\"quotes' and `ticks` ${x}",
    "\x1b[31mred \u202egnp.exe",
    "$style $script {data}",
    "七人の侍 🎬",
)
NAMESPACES = {
    "http://www.w3.org/2000/svg",
    "http://www.w3.org/1998/Math/MathML",
    "http://www.w3.org/1999/xhtml",
}  # names that look like addresses and are never asked for
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Elements and their attributes; fails on elements closed in the wrong order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.contents.setdefault(self.open[-1], []).append(data)

    def text(self, tag):
        return "".join(self.contents.get(tag, []))


def hostile_model(**arguments):
    titles = [f"{HOSTILE[n % len(HOSTILE)]} {n}" for n in range(60)]
    genres = [["<b>Drama</b>", "Comedy|</script>", ""][n % 3] for n in range(60)]
    return build_model(titles=titles, genres=genres, **arguments)


def written(kind, path, model=None):
    model = model or hostile_model()
    if kind == "map":
        item_map(model, min_ratings=1).to_html(path)
    else:
        report_html(model, path, min_ratings=1)
    return path.read_text("utf-8")


def data_of(source):
    return json.loads(re.search(r'<script type="application/json" id="map-data">(.*?)</script>', source)[1])


@pytest.mark.parametrize("kind", ["map", "report"])
def test_a_hostile_title_stays_text(kind, tmp_path):
    source = written(kind, tmp_path / "page.html")
    page = Page(source)
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert "b" not in tags
    assert tags.count("script") == 2
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for character in "\x1b\u202e\u2028\u2029":
        assert character not in source
    titles = data_of(source)["titles"]
    assert titles[0] == HOSTILE[0] + " 0"
    assert titles[7] == HOSTILE[7] + " 7"


@pytest.mark.parametrize("kind", ["map", "report"])
def test_nothing_is_fetched_from_anywhere(kind, tmp_path):
    page = Page(written(kind, tmp_path / "page.html"))
    for tag, attributes in page.elements:
        assert "src" not in attributes
        assert "style" not in attributes  # the policy would refuse it
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("link", "data:,")
    style = page.text("style")
    assert "@import" not in style
    assert "url(" not in style


@pytest.mark.parametrize("kind", ["map", "report"])
def test_the_policy_allows_this_style_and_script_only(kind, tmp_path):
    page = Page(written(kind, tmp_path / "page.html"))
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"

    def hashed(text):
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert allowed["style-src"] == hashed(page.text("style"))
    assert allowed["script-src"] == hashed(page.contents["script"][-1])


def test_the_script_never_makes_html_of_text_nor_calls_out():
    script = asset("map.js")
    for word in (
        *("outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "</script"),
        *("fetch(", "XMLHttpRequest", "WebSocket", "EventSource", "sendBeacon", "import(", "https:"),
    ):
        assert word not in script
    assert set(re.findall(r"http:[^\s\"'`]*", script)) <= NAMESPACES
    web = Path(__file__).parents[2] / "web" / "src"
    asking = {path.name for path in web.glob("*.ts*") if "innerhtml" in path.read_text().lower()}
    assert asking == {"charts.tsx"}  # of the served page, for figures that the server drew and escaped


def test_embedded_json_comes_back_and_has_no_markup():
    value = {"titles": list(HOSTILE), "x": [0.5, -3]}
    text = embedded(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&")
    with pytest.raises(ValueError, match="JSON"):
        embedded([float("nan")])


def test_the_data_of_a_map_are_its_columns(tmp_path):
    model = hostile_model()
    found = item_map(model, min_ratings=1)
    data = data_of(written("map", tmp_path / "map.html", model))
    assert data["items"] == [str(id_) for id_ in found.ids.tolist()]
    np.testing.assert_allclose(data["x"], found.coordinates[:, 0], rtol=1e-3)
    np.testing.assert_allclose(data["y"], found.coordinates[:, 1], rtol=1e-3)
    np.testing.assert_allclose(data["biases"], found.biases, rtol=1e-3)
    assert data["n_ratings"] == found.n_ratings.tolist()
    firsts = [data["categories"][at] if at >= 0 else "" for at in data["category"]]
    assert firsts == list(found.first_genres)
    assert [data["genreTexts"][at] for at in data["genreText"]] == list(found.genres)


def test_nearest_items_in_the_page_are_those_of_all_cosines(tmp_path):
    model = build_model()
    data = data_of(written("map", tmp_path / "map.html", model))
    factors = model.parameters_.item_factors[:60].astype(float)
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    nearest = np.array(data["nearest"]).reshape(-1, N_NEAREST)
    assert data["nearestOf"] == list(range(60))
    for row in range(60):
        twin = [other for other in np.argsort(-cosines[row]) if other != row][:N_NEAREST]
        assert nearest[row].tolist() == twin
    shown = np.array(data["cosines"]).reshape(-1, N_NEAREST)
    np.testing.assert_allclose(shown / 100, np.take_along_axis(cosines, nearest, axis=1), atol=0.0051)


def test_a_tiny_map_has_short_lists_of_nearest_items(tmp_path):
    data = data_of(written("map", tmp_path / "map.html", build_model(n_items=4)))
    nearest = np.array(data["nearest"]).reshape(-1, N_NEAREST)
    assert ((nearest >= 0).sum(axis=1) == 3).all()


def test_an_item_without_a_direction_has_no_nearest_items_and_is_none(tmp_path):
    model = build_model(n_items=6)
    model.parameters_.item_factors[2] = 0
    data = data_of(written("map", tmp_path / "map.html", model))
    assert data["nearestOf"] == [0, 1, 3, 4, 5]
    assert 2 not in data["nearest"]
    assert sorted(data["nearest"][:N_NEAREST]) == [-1, -1, -1, -1, 1, 3, 4, 5]


def test_a_very_large_map_keeps_the_nearest_of_the_most_rated(tmp_path, monkeypatch):
    monkeypatch.setattr(map_html, "_MOST_PRODUCTS", 60 * 5 * 10)
    model = build_model()
    data = data_of(written("map", tmp_path / "map.html", model))
    most = sorted(range(60), key=lambda at: (-data["n_ratings"][at], at))[:10]
    assert data["nearestOf"] == sorted(most)


@pytest.mark.parametrize("kind", ["map", "report"])
def test_a_write_that_fails_leaves_what_was_there(kind, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*page\.html"):
        written(kind, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["map", "report"])
def test_the_same_model_writes_the_same_bytes(kind, tmp_path):
    assert written(kind, tmp_path / "a.html") == written(kind, tmp_path / "b.html")


SCORES = {
    "MatrixFactorization": {
        "rmse": {"value": 0.9, "low": 0.88, "high": 0.92},
        "mae": {"value": 0.7, "low": 0.6, "high": 0.8},
        "n_ratings": 2000,
        "unknown_users": 0.0,
        "unknown_items": 0.04,
    },
    "BiasModel": {"rmse": {"value": 1.0, "low": 0.98, "high": 1.02}},
}


def test_a_report_begins_with_its_verdict(tmp_path):
    report = {"split": "random 20%", "scores": SCORES, "trained_on": "all ratings"}
    page = Page(written("report", tmp_path / "r.html", build_model(report=report)))
    assert page.text("h1") == "10.0% less error than BiasModel"
    assert "RMSE 0.9000 [0.8800, 0.9200] on 2,000 held-out ratings; BiasModel 1.0000" in page.text("p")
    assert "4.0% of these ratings are of items without a training rating" in page.text("p")
    assert "Trained on all ratings" in page.text("p")
    assert page.text("h2") == (
        "Error on held-out ratingsTrainingParts of the scoreItems by biasNearest itemsMap of the items"
    )


@pytest.mark.parametrize("n_factors", [0, 1])
def test_a_report_without_a_map_says_why_and_has_no_script(n_factors, tmp_path):
    page = Page(written("report", tmp_path / "r.html", build_model(n_factors=n_factors)))
    assert "no map: " in page.text("p")
    assert page.contents.get("script", []) == ["null"]
    assert "canvas" not in [tag for tag, _ in page.elements]


@pytest.mark.parametrize(
    "report",
    [
        {"scores": "<b>"},
        {"scores": {"MatrixFactorization": 3, "<i>x</i>": {"rmse": {"value": "1"}}}, "split": ["<b>"]},
        {"scores": SCORES | {"<i>x</i>": {"rmse": {"value": 0.5}}}, "split": "<b>split</b>"},
        {"data": {"histogram": [["<b>", 3], ["2", 5]], "n_ratings": "many", "time_span": ["<b>", "<i>"]}},
        {"data": {"histogram": [["1", "x"]], "density": 0.5, "mean_rating": None, "time_span": "12"}},
        {"data": [1], "trained_on": {"a": 1}},
    ],
)
def test_a_report_of_another_shape_or_with_markup_does_no_harm(report, tmp_path):
    page = Page(written("report", tmp_path / "r.html", build_model(report=report)))
    tags = [tag for tag, _ in page.elements]
    assert "b" not in tags
    assert "i" not in tags
    assert len(page.text("h1")) > 10


def test_a_model_without_weights_is_refused_before_a_file_is_made(tmp_path):
    with pytest.raises(NotFittedError):
        report_html(MatrixFactorization(), tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []
