"""URLs without extension, and signed sizes, on real Apache with the shipped drop-ins."""

import io
import re

import pytest
from PIL import Image

from handlers import signing
from tests.conftest import watched
from tests.servers.httpd import Httpd, make_images_table

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
OLD_KEY, NEW_KEY = "an-old-key-of-24-letters", "a-new-key-of-24-letters!"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "jpeg"),
        ("", "jpeg"),
        ("*/*", "jpeg"),
        ("image/*", "jpeg"),
        (CHROME, "avif"),
        ("image/webp,*/*", "webp"),
        ("text/html,image/webp;q=0.9", "webp"),
        ("IMAGE/AVIF ;Q=0.001", "avif"),
        ("image/avif;q=0,image/webp", "webp"),
        ("image/avif;q=0.000 , image/webp;q=0.0;x=1", "jpeg"),
        ("image/avif;level=1;q=0", "jpeg"),
        ("image/avif-sequence,image/webpx", "jpeg"),
        ("ximage/avif", "jpeg"),
    ],
)
def test_format_is_the_best_that_is_accepted(site, accept, kind):
    headers = {} if accept is None else {"Accept": accept}
    for _ in ("made or there", "there"):
        answer = site.request("/thumbs/200x200/p010", headers=headers)
        assert (answer.status, answer.headers["Content-Type"]) == (200, f"image/{kind}")
        assert answer.headers.get_all("Vary") == ["Accept"]
        assert Image.open(io.BytesIO(answer.body)).format == kind.upper()


def test_vary_is_on_every_answer_of_the_url(site):
    path = "/thumbs/200x200/p011"
    etag = site.request(path).headers["ETag"]
    answers = {
        304: site.request(path, headers={"If-None-Match": etag}),
        200: site.request(path, "HEAD"),
        404: site.request("/thumbs/200x200/nobody"),
        405: site.request(path, "POST", body=b"x"),
        206: site.request(path, headers={"Range": "bytes=0-9"}),
    }
    for status, answer in answers.items():
        assert answer.status == status
        assert answer.headers.get_all("Vary") == ["Accept"], status
    assert site.request("/thumbs/200x201/p011").headers["Vary"] == "Accept"
    assert site.request("/thumbs/200x200/p011.jpg").headers["Vary"] is None


def test_formats_differ_in_their_etag(site):
    etags = {
        site.request("/thumbs/200x200/p012", headers={"Accept": accept}).headers["ETag"]
        for accept in ("image/avif", "image/webp", "image/jpeg")
    }
    assert len(etags) == 3
    microseconds = {int(etag.strip('"').partition("-")[2], 16) for etag in etags}
    assert len(microseconds) == 3


def test_negotiated_thumbnail_is_the_one_with_the_extension(site):
    negotiated = site.request("/thumbs/200x200/p013", headers={"Accept": "image/webp"})
    fixed = site.request("/thumbs/200x200/p013.webp")
    assert (negotiated.body, negotiated.headers["ETag"]) == (fixed.body, fixed.headers["ETag"])
    assert len(re.findall("200x200/p013.webp made", site.log())) == 1


@pytest.fixture(scope="module", params=["mod_wsgi", "mod_python"])
def signing_server(request, base, pictures):
    root, rows = pictures
    directory = base / f"signing-{request.param}"
    directory.mkdir()
    url = make_images_table(directory / "images.db", rows)
    server = Httpd(directory / "site", request.param, url, root)
    server.settings(f"thumbnail.keys = {NEW_KEY} {OLD_KEY}\nthumbnail.largest = 600")
    with server:
        yield server


@pytest.fixture
def signed_site(signing_server):
    yield from watched(signing_server)


@pytest.mark.parametrize("key", [NEW_KEY, OLD_KEY])
@pytest.mark.parametrize("name", ["123x77/large.jpg", "300x300-crop/large.webp"])
def test_signed_size_is_served(signed_site, key, name):
    answer = signed_site.request(signing.url(name, key))
    assert answer.status == 200
    size = Image.open(io.BytesIO(answer.body)).size
    assert size == ((103, 77) if name.startswith("123") else (300, 300))


def test_signature_without_extension_holds_for_every_format(signed_site):
    url = signing.url("90x90/p001", NEW_KEY)
    assert signed_site.request(url).headers["Content-Type"] == "image/jpeg"
    webp = signed_site.request(url, headers={"Accept": "image/webp"})
    assert webp.headers["Content-Type"] == "image/webp"


@pytest.mark.parametrize(
    "url",
    [
        "/thumbs/91x91/p001.jpg",
        "/thumbs/91x91/p001.jpg?s=",
        "/thumbs/91x91/p001.jpg?s=%ff%00",
        f"/thumbs/91x91/p001.jpg?s={signing.sign('91x91/p002.jpg', NEW_KEY)}",
        f"/thumbs/91x91/p001.jpg?s={signing.sign('91x91/p001.webp', NEW_KEY)}",
        f"/thumbs/91x91/p001.jpg?s={signing.sign('91x91/p001.jpg', 'another key of letters')}",
        f"/thumbs/91x91/p001.jpg?S={signing.sign('91x91/p001.jpg', NEW_KEY)}",
        signing.url("91x91/p001.jpg", NEW_KEY)[:-1],
        signing.url("91x91/p001.jpg", NEW_KEY) + "&s=x",
        signing.url("601x10/p001.jpg", NEW_KEY),
        signing.url("091x91/p001.jpg", NEW_KEY),
        signing.url("91x91/p001.gif", NEW_KEY),
        signing.url("91x91/nobody.jpg", NEW_KEY),
    ],
)
def test_whatever_is_not_signed_is_404_and_makes_nothing(signed_site, url):
    assert signed_site.request(url).status == 404
    assert "made" not in signed_site.log()


def test_other_query_keys_make_no_other_thumbnail(signed_site):
    url = signing.url("92x92/p001.jpg", NEW_KEY)
    first = signed_site.request(url.replace("?", "?utm=1&") + "&v=2")
    assert first.status == 200
    assert signed_site.request(url + "&v=3").headers["ETag"] == first.headers["ETag"]
    assert len(re.findall("92x92/p001.jpg made", signed_site.log())) == 1
