"""Headless Chromium, driven over loopback only."""

import contextlib
import shutil
import tempfile

from selenium import webdriver

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
