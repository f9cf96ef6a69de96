"""The page in Chromium: search, rate, see the list change, reload, still there; on a desk and on a phone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bilinear
from bilinear.inspection import report_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

DESK = {"viewport": {"width": 1280, "height": 850}}
NARROW = {"viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # WebGL by software
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(
    rating_model: bilinear.MatrixFactorization, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with served(rating_model, tmp_path_factory.mktemp("served")) as found:
        yield found


@contextmanager
def served(model: bilinear.MatrixFactorization, folder: Path) -> Iterator[str]:
    """`bilinear serve` as it is started by hand, on a free port."""
    model.save(folder / "model")
    command = [sys.executable, "-c", "from bilinear.cli import main; main()", "serve", str(folder / "model")]
    command += ["--store", f"sqlite:///{folder / 'f.db'}", "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said.startswith("http://"), said + process.stderr.read()
    yield said.split()[0]
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    process.wait()
    process.stderr.close()


class Watched:
    """A page, and whatever it said or asked for that it should not have."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.wrong: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.wrong.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.wrong.append(f"asked for {request.url}")

    def titles(self) -> list[str]:
        return list(self.page.locator(".list .title").all_inner_texts())

    def rate(self, words: str, title: str, stars: str) -> None:
        """By keys alone: search, choose, rate."""
        self.page.get_by_role("combobox", name="Find an item by its title").fill(words)
        self.page.get_by_role("option", name=title).wait_for()
        self.page.keyboard.press("Enter")
        self.page.locator(".chosen .stars").wait_for()
        self.page.keyboard.press(stars)
        self.page.keyboard.press("Enter")

    def open(self, place: str = "") -> None:
        self.page.goto(f"{self.address}{place}")

    def known(self, n: int) -> None:
        """Waits until the list rests on so many ratings."""
        words = f"From {n} rating{'' if n == 1 else 's'}, answered"
        self.page.locator(".list [role=status]", has_text=words).wait_for()

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def watched(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    context = browser.new_context(**request.param)
    seen = Watched(context.new_page(), address)
    yield seen
    context.close()
    assert not seen.wrong


def test_a_session_rates_and_is_remembered(watched: Watched) -> None:
    page = watched.page
    watched.open()
    page.get_by_role("heading", name="Best for everyone").wait_for()
    before = watched.titles()
    watched.rate("amelie", "Amélie", "5")
    watched.known(1)
    watched.rate("godfather part", "The Godfather: Part II", "1")
    watched.known(2)
    after = watched.titles()
    assert after != before
    assert "Amélie" not in after
    page.reload()
    watched.known(2)
    assert watched.titles() == after
    assert page.get_by_role("slider", name="Rating of Amélie").get_attribute("aria-valuenow") == "5"
    assert watched.fits()
    page.get_by_role("button", name="Take back the rating of Amélie").click()
    watched.known(1)
    page.get_by_role("button", name="Forget all").click()
    page.get_by_role("heading", name="Best for everyone").wait_for()
    assert watched.titles() == before


def test_a_user_rates_and_the_server_remembers(watched: Watched, request: pytest.FixtureRequest) -> None:
    page, user = watched.page, f"new/{request.node.callspec.id} ü"
    watched.open()
    page.get_by_role("button", name="As a user").click()
    page.get_by_role("combobox", name="User id").fill(user)
    page.get_by_role("option", name="new user").click()
    page.get_by_role("heading", name="Best for everyone").wait_for()
    best = page.locator(".list li").first
    title, stars = best.locator(".title").inner_text(), best.locator(".stars")
    stars.click(position={"x": stars.bounding_box()["width"] - 4, "y": 8})
    watched.known(1)
    page.evaluate("localStorage.clear()")  # the server's memory, not the browser's
    watched.open("#/user?id=" + page.evaluate("id => encodeURIComponent(id)", user))
    page.get_by_role("heading", name="History").wait_for()
    assert page.locator(".plain-list li", has_text="feedback").locator("time").count() == 1
    assert title in page.locator(".plain-list li", has_text="feedback").inner_text()
    page.get_by_role("button", name="Rate as this user").click()
    watched.known(1)
    page.reload()
    watched.known(1)
    assert page.get_by_role("slider", name=f"Rating of {title}").get_attribute("aria-valuenow") == "5"
    assert watched.fits()


WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.mark.parametrize(
    ("screen", "scheme", "places"),
    [
        (NARROW, "light", ["", "#/user?id=user+1", "#/map", "#/model", "#/nowhere"]),
        (DESK, "dark", ["", "docs"]),
    ],
    ids=["narrow", "dark"],
)
def test_no_page_breaks_a_rule_of_wcag_or_is_too_wide(
    browser: Any, address: str, screen: dict[str, Any], scheme: str, places: list[str]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(**screen, color_scheme=scheme, reduced_motion="reduce")
    watched = Watched(context.new_page(), address)
    marks = {
        "": ".list li",
        "#/nowhere": "text=No such page",
        "#/map": ".map canvas",
        "#/model": ".charts svg",
    }
    for place in places:
        watched.page.goto("about:blank")
        watched.open(place)
        watched.page.locator(marks.get(place, "h2")).first.wait_for()
        part = "main > :nth-child(-n+16)" if place == "docs" else "html"  # which has hundreds of the same
        found = axe.run(watched.page, context=part, options={"runOnly": WCAG}).response["violations"]
        assert not found, (place, [(each["id"], each["nodes"][0]["html"]) for each in found])
        assert watched.fits(), place
    context.close()
    assert not watched.wrong


def test_a_report_breaks_no_rule_of_wcag_and_explains_its_words(
    browser: Any, rating_model: bilinear.MatrixFactorization, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    report_html(rating_model, tmp_path / "report.html", min_ratings=1)
    context = browser.new_context(**NARROW, reduced_motion="reduce")
    watched = Watched(context.new_page(), (tmp_path / "report.html").as_uri())
    watched.open()
    watched.page.locator(".map canvas").first.wait_for()
    assert not axe.run(watched.page, options={"runOnly": WCAG}).response["violations"]
    assert watched.fits()
    watched.page.get_by_role("button", name="bias", exact=True).first.click()
    watched.page.get_by_text("a number without any taste in it").wait_for()
    watched.page.get_by_role("combobox", name="Find an item by its title").fill("amelie")
    watched.page.get_by_role("option", name="Amélie").click()
    watched.page.get_by_role("complementary", name="Chosen item").locator("li").first.wait_for()
    context.close()
    assert not watched.wrong


def test_why_and_what_is_like_it(watched: Watched) -> None:
    page = watched.page
    watched.open()
    watched.rate("star wars", "Star Wars", "4")
    watched.known(1)
    page.locator(".because", has_text="because you liked Star Wars").first.wait_for()
    page.locator(".ask").first.click()
    page.get_by_text("your 4 for Star Wars").wait_for()
    title = page.locator(".list .title").first
    name = title.inner_text()
    title.focus()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog", name=name)
    drawer.locator(".alike li").first.wait_for()
    drawer.locator(".alike .title").first.click()
    page.get_by_role("dialog", name=name).wait_for(state="detached")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


def test_the_map_by_keys(watched: Watched) -> None:
    page = watched.page
    watched.open("#/map")
    canvas = page.get_by_role("application", name="Map of the items")
    canvas.wait_for()
    find = page.get_by_role("combobox", name="Find an item by its title")
    find.fill("amelie")
    page.get_by_role("option", name="Amélie").wait_for()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Chosen item")
    panel.get_by_role("heading", name="Amélie").wait_for()
    canvas.focus()
    page.keyboard.press("Escape")
    panel.wait_for(state="detached")
    page.get_by_role("combobox", name="Colour by").select_option("bias")
    page.get_by_text("as a list").click()
    page.locator(".sight li").first.wait_for()
    assert page.locator(".map-stage canvas").first.get_attribute("data-kind") == "webgl"
    assert watched.fits()


def test_rating_in_the_list_by_keys_goes_on_to_the_next(watched: Watched) -> None:
    page = watched.page
    watched.open()
    page.get_by_role("heading", name="Best for everyone").wait_for()
    first = watched.titles()[0]
    page.get_by_role("slider", name=f"Rating of {first}").press("End")
    page.keyboard.press("Enter")
    watched.known(1)
    second = watched.titles()[0]
    assert second != first
    page.get_by_role("slider", name=f"Rating of {second}", exact=True).and_(page.locator(":focus")).wait_for()


def test_the_labs_verdict_where_there_is_one(watched: Watched) -> None:
    page = watched.page

    def with_verdict(route: Any) -> None:
        answer = route.fetch()
        found = answer.json()
        found["report"]["lab"] = {
            "headline": "Training arrived at a minimum.",
            "sections": [{"question": "Is it <b>linear</b>?", "answer": "No.", "facts": [["share", "4 %"]]}],
        }
        route.fulfill(response=answer, json=found)

    page.route("**/v1/model/report", with_verdict)
    watched.open("#/model")
    page.get_by_text("Training arrived at a minimum.").wait_for()
    page.get_by_role("heading", name="Is it <b>linear</b>?").wait_for()  # shown as text, whatever it holds
    page.get_by_text("The numbers").click()
    page.get_by_text("4 %", exact=True).wait_for()


def test_the_model_and_a_user_as_trained(watched: Watched) -> None:
    page = watched.page
    watched.open("#/model")
    page.get_by_role("heading", name="The lab's verdict").wait_for()
    page.get_by_text("bilinear lab MODEL").wait_for()
    page.get_by_role("img", name="Mean training loss").wait_for()
    assert watched.fits()
    watched.open("#/user")
    page.get_by_role("link", name="user 1 ").first.click()
    page.get_by_role("heading", name="History").wait_for()
    assert page.locator(".plain-list li").count() > 10
    assert watched.fits()


def test_an_item_that_is_added_is_listed_and_drawn_as_new(
    browser: Any, featured_model: bilinear.MatrixFactorization, tmp_path: Path
) -> None:
    with served(featured_model, tmp_path) as address:
        context = browser.new_context(**PHONE)
        watched = Watched(context.new_page(), address)
        page = watched.page
        watched.open()
        page.get_by_text("Add an item that nobody has rated").click()
        page.get_by_role("textbox", name="Id", exact=True).fill("new/1")
        page.get_by_role("textbox", name="Title").fill("Newcomer")
        page.get_by_role("textbox", name="genres").fill("War, Unheard")
        page.get_by_role("button", name="Add it").click()
        said = page.locator(".added")
        said.wait_for()
        assert "Training has not met Unheard (genres)" in said.inner_text()
        assert "Without 1 feature (year)" in said.inner_text()
        page.get_by_label("new items only").check()
        page.locator(".list li", has_text="Newcomer").locator(".badge", has_text="new item").wait_for()
        assert watched.titles() == ["Newcomer"]
        page.get_by_role("link", name="Show it on the map").click()
        panel = page.get_by_role("complementary", name="Chosen item")
        panel.get_by_text("new · ").wait_for()
        assert watched.fits()
        page.go_back()
        context.close()
        assert not watched.wrong
