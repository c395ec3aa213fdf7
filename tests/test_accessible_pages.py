"""The pages of the package in Chromium, looked at by axe-core: contrast, labels, landmarks."""

import os

import pytest

from tests.conftest import watched
from tests.servers.browser import chromium, screen, show
from tests.servers.visitor import Visitor
from tests.servers.wall import make_wall

PAGES = {
    "status": "/handlers-status",
    "gallery": "/?page=1",
    "picture": "/?page=1&picture=a01",
    "sign-in": "/signin",
    "favourites": "/?show=favourites&page=1",
    "not found": "/?page=999999",
}
#: A directory for pictures of the pages, to be looked at by people.
_SHOTS = os.environ.get("SCREENSHOTS")


@pytest.fixture(scope="module")
def wall(base):
    """A site that has made some thumbnails and has some warnings to show."""
    directory = base / "accessible"
    directory.mkdir()
    server = make_wall(directory, "mod_wsgi")
    server.settings("cache.bytes = 1G\ncache.interval = 1\nmod_python.session.sweep_interval = 1")
    with server:
        yield server


@pytest.fixture
def site(wall):
    for site in watched(wall):
        site.expect(r"thumbnail \S*/a0[67]\.jpg: ")
        for name in ("a01", "a02", "a06", "b0001"):
            site.request(f"/thumbs/200x200/{name}.jpg")
        Visitor(site).mark("a01")
        yield site


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        driver.set_script_timeout(60)
        yield driver


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_no_fault(site, browser, page, width, scheme):
    # tests that need no browser do without the package
    from selenium_axe_python import Axe

    screen(browser, width, scheme=scheme)
    show(browser, site, PAGES[page])
    if _SHOTS:
        screen(browser, width, 3600, scheme=scheme)
        browser.save_screenshot(os.path.join(_SHOTS, f"{page}-{width}-{scheme}.png"))
    axe = Axe(browser)
    axe.inject()
    found = axe.run()
    assert found["passes"]
    assert not found["violations"], Axe.report(found["violations"])
    across = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(across) == 0
