"""A headless Chromium for the tests of pages: what the page shows, what its console says, and what it asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
if find_spec("selenium") is None:
    MISSING.append("Python's selenium")
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed")


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """A Chromium with a window of this size, in CSS pixels, which may be narrower than a window of a desktop can be."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    # Tests may run as root and in containers with a small /dev/shm.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(shutil.which("chromedriver"))))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def console_errors(driver: Chrome) -> list[str]:
    """The errors that the console had since they were last asked for."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def requests(driver: Chrome) -> list[str]:
    """The addresses that were asked for since this was last asked."""
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


def scrolls_sideways(driver: Chrome) -> bool:
    """Whether the page is wider than the window."""
    return bool(driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))
