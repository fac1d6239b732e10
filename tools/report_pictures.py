"""Pictures of a report for the README: the page at a query, and a pair.

    python tools/report_pictures.py <report.html> <query>-<list>-<image> <folder>

The numbers are those of the page's address, #pair-3-2-1. Writes report.jpg and pair.jpg
into the folder. Needs Chromium and its driver.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from selenium import webdriver

from ames_lite.cli.shell import exit_code
from ames_lite.errors import check_config, existing_file
from ames_lite.io.images import load_image, save_jpeg

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
SIZES = {"report": (1300, 900), "pair": (1300, 860)}  # of the window, pixels
SETTLED = 2.0  # seconds until all is drawn


def main(arguments: Sequence[str]) -> None:
    expected = "<report.html> <query>-<list>-<image> <folder>"
    check_config(len(arguments) == 3, "other arguments are needed", expected)
    report, place, folder = arguments
    page = existing_file(Path(report).absolute(), "there is no report").as_uri()
    driver_at = shutil.which("chromedriver")
    remedy = "apt-get install chromium chromium-driver"
    check_config(driver_at, "there is no chromedriver", "one in PATH", remedy=remedy)
    options, service = webdriver.ChromeOptions(), webdriver.ChromeService(driver_at)
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as scratch, webdriver.Chrome(options, service) as driver:
        for name, at in (("report", f"query-{place.split('-')[0]}"), ("pair", f"pair-{place}")):
            driver.set_window_size(*SIZES[name])
            driver.get("about:blank")
            driver.get(f"{page}#{at}")
            time.sleep(SETTLED)
            shot = Path(scratch) / f"{name}.png"
            driver.save_screenshot(str(shot))
            save_jpeg(Path(folder) / f"{name}.jpg", load_image(shot), quality=82)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
