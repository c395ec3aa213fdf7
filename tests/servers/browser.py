"""Headless Chromium, driven over loopback only."""

import contextlib
import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
#: Whether all pictures of a page are there, for execute_script.
LOADED = "return [...document.images].every(i => i.complete)"


@contextlib.contextmanager
def chromium(width=1280, height=900, profile=None):
    """Run Chromium with a window of the given size; yield its driver.

    :param profile: directory of a profile that is to outlive this browser; None: a new one.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with contextlib.ExitStack() as stack:
        profile = profile or stack.enter_context(tempfile.TemporaryDirectory())
        options.add_argument(f"--user-data-dir={profile}")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options, service)
        try:
            yield driver
        finally:
            driver.quit()


def show(browser, site, path):
    """Open a page and wait for its pictures."""
    browser.get(f"http://127.0.0.1:{site.port}{path}")
    browser.execute_script("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    WebDriverWait(browser, 180).until(lambda b: b.execute_script(LOADED))


def screen(browser, width, height=844, scale=1, scheme="light"):
    """Give the browser a screen of that size, and the reader's choice of a colour scheme."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
