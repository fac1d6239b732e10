"""What the tests of pages rely on: errors and requests of a page are seen, the network is not."""

from pathlib import Path

import numpy as np

from ames_lite.io.images import load_image
from tests.browser import PHONE, Chromium

PAGE = """<!doctype html><meta name="viewport" content="width=device-width"><title>A</title>
<body style="background: #c03020"><script>console.error("of ours")</script>
<img src="https://example.org/a.png"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">"""


def test_errors_and_requests_of_a_page_are_seen(chromium: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    chromium.open(page, PHONE)
    assert chromium.driver.title == "A"
    assert chromium.outside() == ["https://example.org/a.png"]
    said = "\n".join(chromium.errors())
    assert "of ours" in said and "ERR_NAME_NOT_RESOLVED" in said
    shot = load_image(chromium.screenshot(tmp_path / "shot.png"))
    assert shot.shape == (PHONE[1], PHONE[0], 3)
    assert np.array_equal(np.median(shot, axis=(0, 1)), [0xC0, 0x30, 0x20])


def test_a_test_sees_nothing_of_the_one_before(chromium: Chromium) -> None:
    assert not chromium.errors() and not chromium.outside()
