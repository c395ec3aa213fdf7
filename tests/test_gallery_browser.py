"""The gallery in a real browser."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.servers.browser import chromium

_WIDTHS = "return [...document.images].map(i => i.complete ? i.naturalWidth : 0)"


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture(autouse=True)
def quiet_console(browser):
    yield
    assert complaints(browser) == []


def widths(browser):
    """Scroll down and return the natural widths of all pictures, once all are there."""
    browser.execute_script("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    WebDriverWait(browser, 60).until(lambda b: all(b.execute_script(_WIDTHS)))
    return browser.execute_script(_WIDTHS)


def complaints(browser):
    """Return what the browser's console holds, such as a policy that was violated."""
    return [entry["message"] for entry in browser.get_log("browser")]


def test_pictures_load_and_paging_works(site, browser):
    browser.get(f"http://127.0.0.1:{site.port}/?page=2")
    assert widths(browser) == [200] * 60
    browser.find_element(By.LINK_TEXT, "Previous page").click()
    assert "page 1 of" in browser.title
    browser.find_element(By.LINK_TEXT, "Next page").click()
    assert "page 2 of" in browser.title


def test_page_fits_a_phone_and_uses_the_dense_pictures(site, browser):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(f"http://127.0.0.1:{site.port}/?page=2")
        widths(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        sources = browser.execute_script("return [...document.images].map(i => i.currentSrc)")
        assert all("/thumbs/400x400/" in source for source in sources)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_click_shows_the_original(site, browser):
    browser.get(f"http://127.0.0.1:{site.port}/?page=2")
    browser.find_element(By.CSS_SELECTOR, "li a").click()
    assert "/images/" in browser.current_url
    assert browser.execute_script("return document.images[0].naturalWidth") == 640
