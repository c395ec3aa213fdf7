"""What the shipped drop-ins serve, on real Apache prefork, with mod_wsgi and with mod_python."""

import concurrent.futures
import io
import os
import re
import shutil

import pytest
from PIL import Image

from handlers.cache import sweep
from tests.differences import differs
from tests.support import until

VALIDATORS = ("ETag", "Last-Modified", "Cache-Control", "Content-Type", "Content-Length")


def forget(site, name):
    path = os.path.join(site.work.cache, "thumbs", name)
    if os.path.exists(path):
        os.unlink(path)


def test_cold_thumbnail_is_made_and_fits_its_size(site):
    forget(site, "200x200/large.jpg")
    answer = site.request("/thumbs/200x200/large.jpg")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.body)).size == (200, 150)
    assert "thumbnail 200x200/large.jpg made from 4000x3000 JPEG in" in site.log()


@pytest.mark.parametrize(
    "name, size, kind",
    [
        ("200x200-crop/large.webp", (200, 200), "WEBP"),
        ("400x400/large.png", (400, 300), "PNG"),
        ("200x200/alpha.png", (143, 200), "PNG"),
        ("200x200/alpha.jpg", (143, 200), "JPEG"),
    ],
)
def test_every_size_and_format(site, name, size, kind):
    picture = Image.open(io.BytesIO(site.request(f"/thumbs/{name}").body))
    assert (picture.size, picture.format) == (size, kind)


def test_hot_thumbnail_has_the_validators_of_the_cold_one(site):
    forget(site, "200x200/p001.jpg")
    cold = site.request("/thumbs/200x200/p001.jpg")
    hot = site.request("/thumbs/200x200/p001.jpg")
    assert cold.body == hot.body
    for name in VALIDATORS:
        assert cold.headers[name] == hot.headers[name] is not None
    for name in ("X-Content-Type-Options", "Content-Security-Policy"):
        assert cold.headers[name] == hot.headers[name] is not None


def test_hot_thumbnail_needs_no_python(site):
    """It is served although the handler could not: the child is told of no such picture."""
    directory = os.path.join(site.work.cache, "thumbs", "200x200")
    os.makedirs(directory, exist_ok=True)
    # the first round of the keeper removes what has no row
    until(lambda: sweep.counted(site.work.cache).at)
    path = os.path.join(directory, "never-in-the-table.jpg")
    shutil.copyfile(os.path.join(site.work.cache, "..", "httpd.conf"), path)
    try:
        assert site.request("/thumbs/200x200/never-in-the-table.jpg").status == 200
    finally:
        os.unlink(path)
    assert site.request("/thumbs/200x200/never-in-the-table.jpg").status == 404


@pytest.mark.parametrize("cold", [True, False])
def test_conditional_requests_give_304(site, cold):
    def ask(headers):
        if cold:
            forget(site, "200x200/p002.jpg")
        return site.request("/thumbs/200x200/p002.jpg", headers=headers)

    first = ask({})
    for headers in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-None-Match": f'"x", {first.headers["ETag"]}'},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        answer = ask(headers)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == first.headers["ETag"]
        assert answer.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert ask({"If-None-Match": '"another"'}).status == 200


@pytest.mark.parametrize("cold", [True, False])
def test_head_has_the_headers_of_get_and_no_body(site, cold):
    get = site.request("/thumbs/200x200/p003.jpg")
    if cold:
        forget(site, "200x200/p003.jpg")
    head = site.request("/thumbs/200x200/p003.jpg", "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in VALIDATORS:
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/thumbs/200x200/p004.jpg", "/images/p004", "/"])
def test_other_methods_are_405_with_allow(site, path, method):
    for state in ("cold", "hot"):
        answer = site.request(path, method, body=b"x" if method == "POST" else None)
        assert answer.status == 405, state
        # Apache itself adds TRACE, unless TraceEnable says otherwise.
        allowed = set(re.split(r",\s*", answer.headers["Allow"])) - {"TRACE"}
        assert allowed == {"GET", "HEAD"}
        site.request("/thumbs/200x200/p004.jpg")


@pytest.mark.parametrize(
    "path",
    [
        "/thumbs/200x201/p001.jpg",
        "/thumbs/0200x200/p001.jpg",
        "/thumbs/200x200-CROP/p001.jpg",
        "/thumbs/200x200/p001.gif",
        "/thumbs/200x200/p001.JPG",
        "/thumbs/200x201/p001",
        "/thumbs/200x200/p.001",
        "/thumbs/200x200/p001/",
        "/thumbs/200x200/p001.jpg/",
        "/thumbs/200x200/p001.jpg/more",
        "/thumbs/200x200/p001.jpg%0a",
        "/thumbs/200x200/nobody.jpg",
        "/thumbs/200x200/..%2f..%2fsecret.jpg",
        "/thumbs/200x200/p%20001.jpg",
        "/thumbs/200x200/" + "a" * 129 + ".jpg",
        "/thumbs/200x200/.jpg",
        "/thumbs/200x200/",
        "/thumbs/200x200",
        "/thumbs/",
        "/thumbs/more/200x200/p001.jpg",
        "/images/nobody",
        "/images/",
        "/images/p001.jpg",
        "/images/x/p001",
        "/?page=99",
        "/?page=0",
        "/?page=1%0a",
    ],
)
def test_whatever_does_not_exist_is_404(site, path):
    answer = site.request(path)
    assert answer.status == 404
    assert "Cache-Control" not in answer.headers


def test_broken_source_is_404_and_one_line(site):
    site.expect(r"thumbnail 200x200/broken\.jpg: ")
    assert site.request("/thumbs/200x200/broken.jpg").status == 404
    # children have other things to say now and then
    assert site.log().count("thumbnail 200x200/broken.jpg: ") == 1


@pytest.mark.parametrize("id", ["gone", "outside", "url", "absolute", "fifo", "link"])
def test_path_that_is_not_below_the_root_is_404(site, id):
    site.expect(rf"(thumbnail 200x200/{id}\.jpg|original {id}): ")
    assert site.request(f"/thumbs/200x200/{id}.jpg").status == 404
    assert site.request(f"/images/{id}").status == 404
    found = site.log()
    assert [found.count(f"{what}: ") for what in (f"200x200/{id}.jpg", f"original {id}")] == [1, 1]


def test_original_is_streamed_as_it_is(site, pictures):
    root, rows = pictures
    answer = site.request("/images/large")
    assert answer.body == (root / rows["large"]).read_bytes()
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = site.request("/images/large", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


def test_original_answers_a_range(site, pictures):
    root, rows = pictures
    answer = site.request("/images/large", headers={"Range": "bytes=1000-1999"})
    whole = (root / rows["large"]).read_bytes()
    if differs(site.server, "range"):
        assert (answer.status, answer.body) == (200, whole)
    else:
        assert (answer.status, answer.body) == (206, whole[1000:2000])


def test_original_that_is_no_picture_is_a_download(site):
    answer = site.request("/images/page")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"


def test_gallery_has_pages_of_60(site, pictures):
    first, third = site.request("/").body.decode(), site.request("/?page=3").body.decode()
    assert first.count("<img") == 60
    assert third.count("<img") == len(pictures[1]) - 120
    assert 'rel="next"' in first and 'rel="prev"' not in first
    assert 'rel="prev"' in third and 'rel="next"' not in third
    assert re.search(r'srcset="/thumbs/200x200/(\w+)\.jpg 1x, /thumbs/400x400/\1\.jpg 2x"', first)


def test_many_clients_of_one_cold_thumbnail_cost_one_decode(site):
    forget(site, "400x400-crop/large.jpg")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: site.request("/thumbs/400x400-crop/large.jpg"), range(16))
        )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert site.log().count("400x400-crop/large.jpg made") == 1


def test_each_child_says_what_it_warmed(own_site, pictures):
    own_site.start()
    rows = len(pictures[1])
    assert re.search(rf"lookup: {rows} rows from sqlite:////\S+ in \d+ ms", own_site.log())
