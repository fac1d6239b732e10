"""The report in a real browser, opened from a file with the network blocked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.evaluate import run as evaluate
from ames_lite.io.images import load_image
from tests.browser import PHONE, Chromium
from tests.conftest import TinyWorld


@pytest.fixture(scope="module")
def page(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("report") / "run"
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["model=mutual_nn", "num_rerank=10", "lamb=[0.1,0.5]", "temp=[0.1,1.0]"]
    evaluate(compose("evaluate", [*given, f"output_dir={run}"]))
    return run / "report.html"


@pytest.fixture
def opened(chromium: Chromium, page: Path) -> Iterator[Any]:
    """The page, anew; its console stays empty, and it asks for nothing."""
    yield of_page(chromium, page)
    assert chromium.errors() == chromium.outside() == []


def of_page(chromium: Chromium, page: Path) -> Any:
    chromium.open(page)
    until(chromium.driver, lambda d: d.find_elements("css selector", ".tile img"))
    return chromium.driver


def until(driver: Any, holds: Callable[[Any], Any]) -> Any:
    """What `holds` returns once it is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 30, poll_frequency=0.02).until(holds)


def all_of(driver: Any, selector: str) -> list[Any]:
    return [one for one in driver.find_elements("css selector", selector) if one.is_displayed()]


def titles(driver: Any) -> list[str]:
    return [one.text for one in all_of(driver, "section.query h2")]


def choose(driver: Any, select: str, word: str) -> None:
    (option,) = [
        one
        for one in driver.find_elements("css selector", f"#{select} option")
        if one.get_attribute("value") == word
    ]
    option.click()


def drawn(driver: Any) -> str:
    """The picture of the pair, once what was asked for is drawn."""
    driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    return str(driver.execute_script("return document.getElementById('drawing').toDataURL()"))


def test_a_page_shows_its_images_and_asks_for_nothing(
    chromium: Chromium, opened: Any, page: Path, tmp_path: Path
) -> None:
    assert len(chromium.requests()) > 1  # the file, and what is in it
    assert {url.split(":")[0] for url in chromium.requests()} == {"file", "data"}
    assert load_image(chromium.screenshot(tmp_path / "shot.png")).std() > 20
    broken = "return [...document.images].filter((one) => one.complete && !one.naturalWidth).length"
    assert opened.execute_script(broken) == 0


def test_the_policy_lets_no_foreign_script_or_style_in(chromium: Chromium, page: Path) -> None:
    done = of_page(chromium, page).execute_script(
        """const script = document.createElement("script");
        let refused = false;
        try { script.textContent = "window.foreign = 1"; document.body.append(script); }
        catch { refused = true; }
        const node = document.createElement("p");
        node.setAttribute("style", "position: fixed");
        document.body.append(node);
        return [window.foreign ?? 0, refused, getComputedStyle(node).position];"""
    )
    assert done == [0, True, "static"]
    assert "Content Security Policy" in "".join(chromium.errors())


def test_filters_order_and_search_change_what_is_shown(opened: Any) -> None:
    every = titles(opened)
    assert len(every) == 6
    choose(opened, "order", "by name")
    assert titles(opened) == sorted(every)
    choose(opened, "order", "most helped first")
    helped = titles(opened)
    choose(opened, "order", "most harmed first")
    assert titles(opened) != helped and sorted(helped) == sorted(every)
    (mark, *_) = [
        one.get_attribute("value")
        for one in opened.find_elements("css selector", "#mark option")
        if one.get_attribute("value")
    ]
    choose(opened, "mark", mark)
    shown = all_of(opened, "section.query")
    assert 0 < len(shown) and all(mark in one.text for one in shown)
    assert opened.find_element("id", "count").text == f"{len(shown)} of 6 queries"
    choose(opened, "mark", "")
    choose(opened, "tag", "wrong")
    tiles = until(opened, lambda d: all_of(d, ".tile"))
    assert {one.get_attribute("data-tag") for one in tiles} == {"wrong"}
    choose(opened, "tag", "")
    opened.find_element("id", "find").send_keys(every[0])
    assert titles(opened) == [every[0]]


def test_keys_move_between_queries_and_open_a_pair(opened: Any) -> None:
    body = opened.find_element("css selector", "body")
    for _ in range(2):
        body.send_keys("j")
    (here,) = opened.find_elements("css selector", ".query.here h2")
    assert here.text == titles(opened)[1]
    body.send_keys("k")
    (here,) = opened.find_elements("css selector", ".query.here h2")
    assert here.text == titles(opened)[0]
    opened.switch_to.active_element.send_keys("\ue007")  # Enter, on the first image
    assert until(opened, lambda d: all_of(d, "#pair"))
    first = opened.find_element("id", "pair-title").text
    opened.switch_to.active_element.send_keys("\ue014")  # right
    until(opened, lambda d: d.find_element("id", "pair-title").text != first)
    opened.switch_to.active_element.send_keys("\ue00c")  # Esc
    until(opened, lambda d: not all_of(d, "#pair"))
    opened.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    body.send_keys("j")
    (here,) = opened.find_elements("css selector", ".query.here h2")
    assert titles(opened).index(here.text) > 2  # from what is in sight
    body.send_keys("?")
    assert all_of(opened, "#help")
    body.send_keys("/")
    assert opened.switch_to.active_element.get_attribute("id") == "find"


def test_a_pair_shows_its_matches_heat_and_box(opened: Any) -> None:
    milliseconds = opened.execute_async_script(
        """const done = arguments[0], began = performance.now();
        new MutationObserver(() => done(performance.now() - began)).observe(
          document.getElementById("pair"), { attributes: true, attributeFilter: ["data-drawn"] });
        document.querySelector(".tile.viewed button").click();"""
    )
    assert milliseconds > 0  # it was drawn; how fast is a benchmark
    assert "matches" in opened.find_element("id", "pair-said").text
    pictures = [drawn(opened)]
    for name in ("heat", "lines", "box"):
        if opened.find_element("id", name).is_enabled():
            opened.find_element("id", name).click()
            pictures.append(drawn(opened))
    assert len(pictures) > 2 and len(set(pictures)) >= len(pictures) - 1  # not each has a box
    opened.find_element("id", "lines").click()
    opened.execute_script(
        "const many = arguments[0]; many.value = 1; many.dispatchEvent(new Event('input'))",
        opened.find_element("id", "many"),
    )
    until(opened, lambda d: d.find_element("id", "number").text.startswith("1 of "))
    opened.find_element("id", "close").click()
    assert not all_of(opened, "#pair")


def test_an_address_leads_to_a_query_or_a_pair(chromium: Chromium, opened: Any, page: Path) -> None:
    opened.execute_script("document.querySelector('.tile button').click()")
    address = opened.current_url
    assert re.search(r"#pair-\d-1-1$", address)
    title = opened.find_element("id", "pair-title").text
    opened.get("about:blank")
    opened.get(address)
    until(opened, lambda d: all_of(d, "#pair"))
    assert opened.find_element("id", "pair-title").text == title
    opened.get("about:blank")
    opened.get(f"{page.as_uri()}#query-3")
    here = until(opened, lambda d: d.find_elements("css selector", ".query.here"))
    assert [one.get_attribute("id") for one in here] == ["query-3"]


def test_a_phone_scrolls_only_downwards(chromium: Chromium, opened: Any, tmp_path: Path) -> None:
    chromium.resize(PHONE)
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    scrolled, inner = opened.execute_script(width)
    assert scrolled <= inner == PHONE[0]
    until(opened, lambda d: d.find_elements("css selector", ".tile.viewed button"))
    opened.execute_script("document.querySelector('.tile.viewed button').click()")
    drawn(opened)
    scrolled, inner = opened.execute_script(width)
    assert scrolled <= inner
    assert opened.find_element("id", "drawing").size["width"] <= PHONE[0]
    assert load_image(chromium.screenshot(tmp_path / "shot.png")).std() > 20


def changed(page: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The page with other data."""
    head, data, tail = re.split(r'(?<=id="data">)(.*?)(?=</script>)', page.read_text("utf-8"))
    content = json.loads(data)
    change(content)
    path.write_text(head + json.dumps(content).replace("<", "\\u003c") + tail)
    return path


def test_a_pair_whose_image_is_missing_says_so(
    chromium: Chromium, page: Path, tmp_path: Path
) -> None:
    def remove(data: dict[str, Any]) -> None:
        for view in data["views"]:
            data["pictures"][view["picture"]] = ["", "image not found"]

    driver = of_page(chromium, changed(page, tmp_path / "missing.html", remove))
    assert not driver.find_elements("css selector", ".tile.viewed")
    driver.execute_script("document.querySelector('.tile button').click()")
    note = driver.find_element("id", "pair-note").text
    assert note == "No matches are shown: image not found."
    assert chromium.errors() == []


def test_keys_do_no_harm_on_a_page_without_queries(
    chromium: Chromium, page: Path, tmp_path: Path
) -> None:
    none = changed(page, tmp_path / "none.html", lambda data: data.update(views=[]))
    text = re.sub(r"(?s)<nav.*?</nav>", "", none.read_text("utf-8"))  # as the template does
    none.write_text(text)
    chromium.open(none)
    chromium.driver.find_element("css selector", "body").send_keys("j?/")
    assert chromium.errors() == []


def test_a_pair_is_as_wide_as_the_view(chromium: Chromium, opened: Any) -> None:
    chromium.resize((700, 500))
    opened.execute_script("document.querySelector('.tile button').click()")
    right, width = opened.execute_script(
        """const { right } = document.getElementById("close").getBoundingClientRect();
        return [right, document.documentElement.clientWidth];"""
    )
    assert right < width < 700  # beside the scroll bar


def test_of_many_queries_only_those_in_sight_are_drawn(
    chromium: Chromium, page: Path, tmp_path: Path
) -> None:
    """The same page, its queries 1 000 times as many."""

    def repeat(data: dict[str, Any]) -> None:
        data["views"] = [dict(data["views"][q % 6], name=f"query {q}") for q in range(1000)]

    driver = of_page(chromium, changed(page, tmp_path / "many.html", repeat))
    drawn_ones = "return document.querySelectorAll('.lists').length"
    assert len(driver.find_elements("css selector", "section.query")) == 1000
    assert 0 < driver.execute_script(drawn_ones) < 20
    choose(driver, "order", "by name")
    driver.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    last = "return document.querySelector('main').lastElementChild.querySelector('.tile img')"
    until(driver, lambda d: d.execute_script(last))
    until(driver, lambda d: d.execute_script(drawn_ones) < 20)
    assert chromium.errors() == []
