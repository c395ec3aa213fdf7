"""Work directories and folders whose names have umlauts, blanks and brackets."""

import os

import pytest
from PIL import Image

from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table

#: One name for each kind of character; all of them can stand in one path.
_NAMES = ("wörk", "two words", "[r]", "a*b", "(c) & d", "日本語", "plus+comma,semi;")


@pytest.fixture(scope="module", params=SERVERS)
def strange(request, base):
    """A site in a directory below all those names, with pictures in folders of those names."""
    above = base / f"strange-{request.param}"
    directory = above.joinpath(*_NAMES)
    root = directory / "pictures ö [1] "
    rows = {}
    for number, name in enumerate(_NAMES):
        (root / f"{name} ").mkdir(parents=True)
        Image.new("RGB", (300, 200), "teal").save(root / f"{name} " / f"{name} .jpg", "JPEG")
        rows[f"p{number}"] = f"{name} /{name} .jpg"
    url = make_images_table(above / "images.db", rows)
    server = Httpd(directory / "site", request.param, url, root, children=2)
    with server:
        yield server


@pytest.fixture
def site(strange):
    yield from watched(strange)


def test_thumbnails_are_made_once_and_served_by_apache(site):
    for number in range(len(_NAMES)):
        for _ in range(2):
            assert site.request(f"/thumbs/200x200/p{number}.jpg").status == 200
        assert site.request(f"/images/p{number}").status == 200
    assert site.log().count("made from") == len(_NAMES)


def test_what_is_no_thumbnail_stays_hidden(site):
    site.expect("AH01630: client denied by server configuration: .*/handlers-state")
    assert os.path.isdir(os.path.join(site.work.cache, "handlers-state"))
    for path in ("/thumbs/../handlers-state/lock", "/thumbs/x", "/thumbs/200x200/"):
        assert site.request(path).status in (400, 403, 404)
    assert site.request("/").status == 200
