"""The app in a browser: it opens on this machine alone, and does what its parts say."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.io.images import list_images, load_image
from ames_lite.reranking.scorer import PairScorer, verifier_scorer
from ames_lite.search.image_search import Ranker, search_images
from ames_lite.search.indexing import index_images
from ames_lite.search.session import Query, Session, Settings
from tests.browser import PHONE, Chromium
from tests.search.photos import save_photos
from tests.search.test_session import SIFT, below

listen = pytest.importorskip("ames_lite.search.web").listen
by = pytest.importorskip("selenium.webdriver.common.by", reason="no selenium here").By
RANKER = Ranker(verifier_scorer("mutual_nn"), 0.3, 0.1)


class Served(NamedTuple):
    address: str
    session: Session
    asked: list[tuple[Query, Settings]]
    scored: list[int]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # gradio imports for seconds: only where the app is tested, not in every process that collects
    name, reason = "ames_lite.search.app", "no gradio here"
    app = pytest.importorskip(name, reason=reason, exc_type=ImportError)
    folder = tmp_path_factory.mktemp("app")
    photos = save_photos(folder / "photos <b>")
    index_images(photos, folder / "index", SIFT)
    names = list_images(photos)
    found = [search_images(folder / "index", photos / name, SIFT, RANKER) for name in names]
    middle = float(np.median([one.hits.scores[0, 0] for one in found]))
    session = Session(photos, folder / "index", SIFT, RANKER, below(middle))
    asked: list[tuple[Query, Settings]] = []
    scored: list[int] = []
    find, score = session.find, PairScorer.score

    def counted(self: PairScorer, *given: Any) -> Any:
        scored.append(len(given[2]))
        return score(self, *given)

    def noted(query: Query, settings: Settings, top: int) -> Any:
        asked.append((query, settings))
        return find(query, settings, top)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "find", noted)
        patch.setattr(PairScorer, "score", counted)
        with (
            listen("127.0.0.1", 0) as port,
            app.served(session, "12 images", 6, "127.0.0.1") as server,
        ):
            thread = Thread(target=server.run, kwargs={"sockets": [port]})
            thread.start()
            address = f"http://127.0.0.1:{port.getsockname()[1]}/"
            yield Served(address, session, asked, scored)
            server.should_exit = True
            thread.join()


class Page:
    """The app as a visitor uses it."""

    def __init__(self, chromium: Chromium) -> None:
        self.chromium, self.driver = chromium, chromium.driver

    def wait(self, found: Callable[[], object]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException as Stale
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.driver, 30, 0.1, ignored_exceptions=[Stale])
        return waiting.until(lambda _: found())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(by.CSS_SELECTOR, selector)

    def click(self, element: Any, x: float = 0.0, y: float = 0.0) -> None:
        """x, y: from the middle of the element."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element_with_offset(element, x, y).click().perform()

    def open(self, address: str, size: tuple[int, int] = (1300, 900)) -> None:
        self.chromium.open(address, size)
        self.wait(lambda: len(self.all("#folder .thumbnail-item img")) == 12)

    def pick(self, number: int) -> None:
        before = self.captions()
        self.click(self.all("#folder .thumbnail-item")[number])
        self.wait(lambda: len(self.captions()) == 6 and self.captions() != before)

    def captions(self) -> list[str]:
        return [one.text for one in self.all("#results .caption-label")]

    def status(self) -> str:
        return str(self.all("#status")[0].text)

    def slide(self, name: str, value: float) -> None:
        field = self.all(f"#{name} input[type=number]")[0]
        self.driver.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}));"
            "arguments[0].dispatchEvent(new Event('change', {bubbles: true}));",
            *(field, value),
        )


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    yield Page(chromium)
    assert chromium.errors() == [] and chromium.outside() == []


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((1300, 900), id="desktop"),
        pytest.param(PHONE, id="phone", marks=pytest.mark.slow),
    ],
)
def test_a_visitor_searches_reorders_and_looks_at_a_pair(
    page: Page, served: Served, size: tuple[int, int], tmp_path: Path
) -> None:
    page.open(served.address, size)
    assert "Choose an image" in page.status()
    assert page.driver.title == "Search in photos <b>"
    page.pick(4 if size == PHONE else 7)
    name = served.session.names[4 if size == PHONE else 7]
    assert name in page.status() and "left out of its own list" in page.status()
    first, count = page.captions(), len(served.scored)
    for slider, value in (("lamb", 1), ("temp", 0.5), ("num_rerank", 2)):
        asked = len(served.asked)
        page.slide(slider, value)
        page.wait(lambda before=asked: len(served.asked) > before)
        page.wait(lambda: page.captions() == _captions(served))
    assert len(served.scored) == count
    assert served.asked[-1][1] == Settings(1, 0.5, 2) and page.captions() != first
    assert page.captions()[0].startswith("1 (was 1)")
    page.click(page.all("#results .thumbnail-item")[1])
    page.wait(lambda: page.all("#pair iframe") and page.all("#results .selected"))
    page.slide("num_rerank", 3)
    page.wait(lambda: not page.all("#pair iframe") and not page.all("#results .selected"))
    page.click(page.all("#results .thumbnail-item")[1])
    frame = page.wait(lambda: page.all("#pair iframe"))[0]
    page.driver.switch_to.frame(frame)
    page.wait(lambda: page.all("#pair[data-drawn]"))
    assert name in page.all("#pair-title")[0].text and "rank 2" in page.all("#pair-said")[0].text
    page.driver.switch_to.default_content()
    shot = load_image(page.chromium.screenshot(tmp_path / "shot.png"))
    assert shot.std() > 20
    wide = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def _captions(served: Served) -> list[str]:
    query, settings = served.asked[-1]
    count = len(served.asked)
    results = served.session.find(query, settings, 6).results
    del served.asked[count:]
    return [f"{r.rank} (was {r.global_rank}) · {r.score:.3f}\n{r.name}" for r in results]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(0, id="lying", marks=pytest.mark.slow),
        pytest.param(3, id="upright"),
    ],
)
def test_two_clicks_mark_a_part_of_the_query(page: Page, served: Served, number: int) -> None:
    page.open(served.address)
    page.pick(number)
    path = served.session.images / served.session.names[number]
    height, width = load_image(path).shape[:2]
    shown = page.all("#query img")[0].rect
    scale = min(shown["width"] / width, shown["height"] / height)
    ready = "const one = arguments[0]; return one.complete && one.naturalWidth ? one.src : ''"

    def source() -> str:
        """Of the query's picture, once it is drawn."""
        return str(page.driver.execute_script(ready, page.all("#query img")[0]))

    for x, y, said in ((-0.25, 0.3, "corner"), (0.25, -0.2, "part in the box")):
        asked, before = len(served.asked), page.wait(source)
        page.click(page.all("#query img")[0], x * width * scale, y * height * scale)
        page.wait(lambda before=asked: len(served.asked) > before)
        page.wait(lambda said=said: said in page.status())
        page.wait(lambda before=before: source() not in ("", before))
    query = served.asked[-1][0]
    wanted = 0.25 * width, 0.3 * height, 0.75 * width, 0.8 * height
    assert query.box is not None
    np.testing.assert_allclose(query.box, wanted, atol=2 / scale + 1)
    page.click(page.all("#whole")[0])
    page.wait(lambda: "part in the box" not in page.status())
    assert served.asked[-1][0] == Query(path)


def test_uploads_are_searched_and_no_images_refused(
    page: Page, served: Served, tmp_path: Path
) -> None:
    page.open(served.address)
    notes = tmp_path / "notes.jpg"
    notes.write_text("<script>no image</script>")
    page.all("#upload-button, #upload input[type=file], input[type=file]")[0].send_keys(str(notes))
    page.wait(lambda: "cannot be decoded" in page.status())
    assert not page.captions()
    image = served.session.images / served.session.names[0]
    upload = tmp_path / "upload.jpg"
    upload.write_bytes(image.read_bytes())
    page.all("#upload-button, #upload input[type=file], input[type=file]")[0].send_keys(str(upload))
    page.wait(lambda: "upload.jpg" in page.status() and page.captions())
    assert served.session.names[0] in page.captions()[0]


@pytest.mark.slow
def test_no_answer_is_said(page: Page, served: Served) -> None:
    page.open(served.address)
    results = {
        number: served.session.find(
            Query(served.session.images / name), served.session.settings, 1
        ).absent
        for number, name in enumerate(served.session.names)
    }
    assert set(results.values()) == {True, False}
    for absent in (True, False):
        page.pick(next(n for n, found in results.items() if found == absent))
        assert ("not in this gallery" in page.status()) == absent


def test_names_are_found(page: Page, served: Served) -> None:
    page.open(served.address)
    page.all("#find input, #find textarea")[0].send_keys("B_")
    page.wait(lambda: len(page.all("#folder .thumbnail-item")) == 3)
    page.pick(1)
    assert "b_1.jpg" in page.status()


def test_a_page_of_another_address_is_not_answered(served: Served) -> None:
    import http.client

    host, port = served.address[7:-1].split(":")
    for asked, status in (("127.0.0.1", 200), ("example.org", 400)):
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("GET", "/", headers={"Host": f"{asked}:{port}"})
        assert connection.getresponse().status == status
        connection.close()


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} of 127.0.0.1.*\n.*\n.*port=0"):
            with listen("127.0.0.1", port):
                pass
    with pytest.raises(BadInput, match="of no.such.host"):
        with listen("no.such.host", 0):
            pass
