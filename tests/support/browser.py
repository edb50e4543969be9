"""A real browser, headless Chromium, inside a cloud's network and trusting its CA alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from onestack.host import netns
from tests.support.clouds import REPOSITORY, CloudUnderTest, run

ARTIFACTS = REPOSITORY / "artifacts"
PACKAGES = ("chromium", "chromium-driver", "libnss3-tools")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,1000",
)
NOT_YET = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
"""A page that is still changing answers with one of these."""


class Browser:
    """What a person does with a browser. Everything waits until it can be done."""

    def __init__(self, driver: Chrome, seconds: float = 60) -> None:
        self.driver = driver
        self.seconds = seconds
        self.requested: set[str] = set()
        """Host (and port) of everything fetched so far; see `note_requests`."""

    def open(self, url: str) -> None:
        self.driver.get(url)

    def until(self, what: str, check: Callable[[Chrome], Any], seconds: float | None = None) -> Any:
        """Ask ``check`` until it answers something true; ``what`` is in the failure."""
        waiting = WebDriverWait(self.driver, seconds or self.seconds, 0.2, NOT_YET)
        try:
            return waiting.until(check)
        except WebDriverException:
            self.picture(f"failed-{what}")
            raise AssertionError(f"{what}: not to be had at {self.driver.current_url}") from None

    def find(self, selector: str, seconds: float | None = None) -> WebElement:
        """The first element that is shown for a CSS selector."""

        def shown(driver: Chrome) -> WebElement | None:
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in found if element.is_displayed()), None)

        element: WebElement = self.until(selector, shown, seconds)
        return element

    def click(self, selector: str) -> None:
        def clicked(driver: Chrome) -> bool:
            self.find(selector).click()
            return True

        self.until(f"click {selector}", clicked)

    def press(self, xpath: str) -> None:
        """Click what an XPath names: for what has no class or id of its own."""

        def clicked(driver: Chrome) -> bool:
            found = driver.find_elements(By.XPATH, xpath)
            element = next((element for element in found if element.is_displayed()), None)
            if element is not None:
                element.click()
            return element is not None

        self.until(f"click {xpath}", clicked)

    def type(self, selector: str, text: str) -> None:
        element = self.find(selector)
        element.clear()
        element.send_keys(text)

    def text(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def says(self, text: str, seconds: float | None = None) -> None:
        self.until(f"the words {text}", lambda driver: text in self.text(), seconds)

    def picture(self, name: str) -> Path:
        """A screenshot, kept in ``artifacts/``."""
        ARTIFACTS.mkdir(exist_ok=True)
        path = ARTIFACTS / f"{''.join(c if c.isalnum() else '-' for c in name)[:80]}.png"
        self.driver.save_screenshot(str(path))
        return path

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was noted of this kind since the last time."""
        found: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return found

    def note_requests(self) -> None:
        """Add to `requested` whom the browser has asked for something since the last time."""
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
            elif message["method"] == "Network.webSocketCreated":
                url = message["params"]["url"]
            else:
                continue
            if urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                self.requested.add(urlsplit(url).netloc)

    def complaints(self) -> list[str]:
        """Errors of scripts and loads since the last time, as the browser's console has them."""
        return [e["message"] for e in self.log("browser") if e["level"] == "SEVERE"]


def install() -> None:
    """Chromium, its driver and certutil, by apt, where they are missing."""
    if all(shutil.which(name) for name in ("chromium", "chromedriver", "certutil")):
        return
    words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
    environment = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    if run(words, env=environment, expect=None).returncode != 0:
        run(["apt-get", "update", "-q"], env=environment)
        run(words, env=environment)


@contextlib.contextmanager
def browser(cloud: CloudUnderTest) -> Iterator[Browser]:
    """A browser with nothing remembered. The calling thread is in the cloud's network meanwhile."""
    install()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="browser-")))
        trust(home, cloud.root / "etc" / "tls" / "ca.pem")
        options = ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={home}/profile"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = ChromeService("/usr/bin/chromedriver", env=dict(os.environ) | {"HOME": str(home)})
        if cloud.netns:
            stack.enter_context(netns.inside(cloud.prefix))
        driver = Chrome(options=options, service=service)
        stack.callback(driver.quit)
        yield Browser(driver)


def trust(home: Path, ca: Path) -> None:
    """Let the browser whose home is ``home`` trust the authority ``ca``."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    run(["certutil", "-N", "-d", f"sql:{store}", "--empty-password"])
    run(["certutil", "-A", "-d", f"sql:{store}", "-n", "cloud", "-t", "C,,", "-i", str(ca)])
