"""A headless Chromium without a network, for the tests of pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1300, 900), (390, 844)  # widths and heights of the view
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "driver": ("chromedriver",),
}
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--no-first-run", "--no-proxy-server"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
INSIDE = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:", "chrome:")


class Chromium:
    """driver: selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._requests: list[str] = []
        self._errors: list[str] = []

    def open(self, page: str | Path, size: tuple[int, int] = DESKTOP) -> None:
        """A file or an address, in a view of that size in pixels."""
        self.resize(size)
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def resize(self, size: tuple[int, int]) -> None:
        """Also below the least width of a window."""
        view = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)

    def requests(self) -> list[str]:
        """What the pages asked for since the test began."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])
        return self._requests

    def outside(self) -> list[str]:
        """Requests to other machines."""
        return [url for url in self.requests() if not url.startswith(INSIDE)]

    def errors(self) -> list[str]:
        """Errors of the console since the test began, among them refusals of a page's policy."""
        entries = self.driver.get_log("browser")
        self._errors += [one["message"] for one in entries if one["level"] == "SEVERE"]
        return self._errors

    def screenshot(self, path: Path) -> Path:
        assert self.driver.save_screenshot(str(path))
        return path


@pytest.fixture(scope="session")
def chromium_driver() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    found = {name: next(filter(None, map(shutil.which, of)), None) for name, of in PROGRAMS.items()}
    if None in found.values():
        pytest.skip("no chromium or chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(found["driver"]))
    yield driver
    driver.quit()


@pytest.fixture
def chromium(chromium_driver: Any) -> Iterator[Chromium]:
    """A browser at an empty page; skipped where Chromium or its driver is missing."""
    chromium_driver.get("about:blank")
    for log in ("browser", "performance"):
        chromium_driver.get_log(log)
    yield Chromium(chromium_driver)
    chromium_driver.get("about:blank")
