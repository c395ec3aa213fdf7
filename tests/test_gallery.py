"""The pages of the gallery: what they name, where they lead, and what is no page."""

import html
import re
import socket

import pytest

from handlers import gallery, names, page
from tests.conftest import SERVERS, watched
from tests.servers.visitor import Visitor
from tests.servers.wall import LONG, PAGES, PLAIN, PRIVATE, ROWS, make_wall

PUBLIC = len(ROWS) - len(PRIVATE)


@pytest.fixture(scope="module", params=SERVERS)
def wall_site(request, base):
    directory = base / f"wall-{request.param}"
    directory.mkdir()
    with make_wall(directory, request.param) as server:
        yield server


@pytest.fixture
def wall(wall_site):
    yield from watched(wall_site)


def text_of(answer):
    assert answer.status == 200
    return answer.body.decode()


# --- what is shown


@pytest.mark.parametrize(
    "path, caption",
    [
        ("Ærø-Fähre.jpg", "Ærø-Fähre"),
        ("a/b/京都.JPEG", "京都"),
        ("St. Peter.jpg", "St. Peter"),
        ("Nr. 5", "Nr. 5"),
        ("v1.2", "v1.2"),
        ("a.tar.webp", "a.tar"),
        (".jpg", ".jpg"),
        ("sub/", "x-1"),
        ("sub/caf\udce9.jpg", "caf�"),
        ("line\nfeed\x1b[31m\x7f\x9b.jpg", "line�feed�[31m��"),
        ("  two  blanks .jpg", "  two  blanks "),
        ("\ud800.jpg", "�"),
        (None, "x-1"),
    ],
)
def test_caption_is_the_name_of_the_file(path, caption):
    picture = page.Picture("x-1", path)
    assert picture.caption == caption
    picture.caption.encode()


def test_captions_and_alternative_texts_are_names_and_addresses_are_ids(wall):
    text = text_of(wall.request("/"))
    captions = re.findall(
        r'<span class="caption" dir="auto"(?: title="([^"]*)")? [^>]*>(.*?)<', text
    )
    names = ["Ærø-Fähre", "京都", LONG, "icon", "ring", "broken", "missing", "caf�", "<b>&\"'"]
    assert [html.unescape(name) for _, name in captions[:9]] == names
    assert captions[2][0] == LONG and captions[0][0] == captions[1][0] == ""
    assert [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', text)][:9] == names
    assert text.count('src="/thumbs/200x200/a01.jpg"') == 1
    assert 'href="/?page=1&amp;picture=a02"' in text


def test_pictures_that_may_be_transparent_are_asked_for_as_webp(wall):
    text = text_of(wall.request("/"))
    assert 'src="/thumbs/200x200/a05.webp"' in text
    answer = wall.request("/thumbs/200x200/a05.webp")
    assert answer.headers["Content-Type"] == "image/webp"


@pytest.mark.parametrize(
    "number, last, named",
    [
        (1, 1, [1]),
        (1, 2, [1, 2]),
        (1, 17, [1, 2, 3, 17]),
        (2, 17, [1, 2, 3, 17]),
        (3, 17, [1, 2, 3, 4, 17]),
        (9, 17, [1, 8, 9, 10, 17]),
        (16, 17, [1, 15, 16, 17]),
        (17, 17, [1, 15, 16, 17]),
        (3, 5, [1, 2, 3, 4, 5]),
    ],
)
def test_pages_are_named_by_number(number, last, named):
    assert page._named_pages(number, last) == named


def test_every_page_can_be_reached_by_its_number(wall):
    text = text_of(wall.request("/"))
    nav = text[text.index('<nav aria-label="Pages">') :]
    assert re.sub(r"<[^>]+>", "", nav).split() == ["1", "2", "3", "…", "17", "Next", "page"]
    assert 'aria-current="page">1<' in nav
    seen = set()
    for number in range(1, PAGES + 1):
        seen |= set(re.findall(r'id="p-(\w+)"', text_of(wall.request(f"/?page={number}"))))
    assert seen == set(ROWS) - set(PRIVATE)


# --- one picture


def test_picture_has_the_largest_size_its_neighbours_and_a_way_back(wall):
    text = text_of(wall.request("/?page=1&picture=a02"))
    assert "<title>京都</title>" in text
    assert '<img src="/thumbs/400x400/a02.jpg" alt="京都">' in text
    assert 'rel="prev" data-key="ArrowLeft" href="/?page=1&amp;picture=a01"' in text
    assert 'rel="next" data-key="ArrowRight" href="/?page=1&amp;picture=a03"' in text
    assert 'data-key="Escape" href="/?page=1#p-a02"' in text
    assert 'href="/images/a02">Original' in text
    assert f"2 of {PUBLIC}" in text


def test_neighbours_lead_over_the_ends_of_pages_and_end_at_the_last(wall):
    ids = [id for id in ROWS if id not in PRIVATE]
    seen, address = [], "/?page=1&picture=a01"
    for _ in range(130):
        text = text_of(wall.request(address))
        seen.append(address.rpartition("=")[2])
        address = html.unescape(re.search(r'rel="next"[^>]*href="([^"]*)"', text)[1])
    assert seen == ids[:130]
    assert address == f"/?page=3&picture={ids[130]}"
    last = text_of(wall.request(f"/?page={PAGES}&picture={ids[-1]}"))
    assert 'rel="next"' not in last and f"{PUBLIC} of {PUBLIC}" in last
    assert 'rel="prev"' not in text_of(wall.request("/?page=1&picture=a01"))


@pytest.mark.parametrize("number, back", [(1, 1), (2, 2), (3, 2), (9, 9), (10**8, PAGES)])
def test_page_in_the_address_of_a_picture_may_be_another_one_by_now(wall, number, back):
    """b0070 is on page 2; the page beside it is looked at, too."""
    text = text_of(wall.request(f"/?page={number}&picture=b0070"))
    back = 2 if number in (1, 2, 3) else back
    assert f'href="/?page={back}#p-b0070"' in text
    assert ('rel="next"' in text) == (number <= 3)


@pytest.mark.parametrize("id", ["nobody", "a08", "../a01", "%00", "%ff", "a01%0a", "x" * 200])
def test_picture_that_is_not_there_or_private_is_404(wall, id):
    unknown = wall.request("/?page=1&picture=unknown")
    answer = wall.request(f"/?page=1&picture={id}")
    assert (answer.status, answer.body) == (404, unknown.body)


# --- private pictures


def test_private_pictures_are_marked_for_those_who_see_them(wall):
    ann = Visitor(wall)
    ann.sign_in()
    text = text_of(ann.ask("/"))
    assert text.count('<span class="private">Private</span>') == 1
    (tile,) = re.findall(r'<a class="tile" id="p-a08".*?</a>', text, re.DOTALL)
    assert "Private" in tile and "Geheimnis" in tile
    one = text_of(ann.ask("/?page=1&picture=a08"))
    assert "Private" in one and "Geheimnis" in one
    assert "Geheimnis" not in text_of(wall.request("/"))


def test_favourite_that_is_private_or_gone_tells_nothing_but_its_id(wall):
    visitor = Visitor(wall)
    for id in ("a08", "nobody", "a01"):
        visitor.mark(id)
    text = text_of(visitor.ask("/?show=favourites"))
    tiles = re.findall(r"<li>.*?</li>", text, re.DOTALL)
    assert len(tiles) == 3
    assert tiles[0].replace("a08", "nobody") == tiles[1]
    assert "Not here any more" in tiles[0] and 'name="id" value="a08"' in tiles[0]
    assert "/thumbs/" not in tiles[0] and "Geheimnis" not in text


def test_favourites_have_pages_and_pictures_of_their_own(wall):
    visitor = Visitor(wall)
    for number in range(62):
        visitor.mark(f"b{number:04d}")
    one = text_of(visitor.ask("/?show=favourites&page=1&picture=b0059"))
    assert 'href="/?show=favourites&amp;page=2&amp;picture=b0060"' in one
    assert "60 of 62" in one
    # the last two of the second page go, and so does the page
    place = "/?show=favourites&page=2#star-"
    for id, back in (("b0061", f"{place}b0061"), ("b0060", "/?show=favourites&page=1")):
        answer = visitor.mark(id, mark="off", back=f"{place}{id}")
        assert answer.headers["Location"] == back


def test_mark_says_what_is_wanted_however_often(wall):
    visitor = Visitor(wall)
    for mark, marked in (("on", 1), ("on", 1), ("off", 0), ("off", 0), ("on", 1)):
        visitor.mark("a01", mark=mark)
        assert f"Favourites: {marked}," in text_of(visitor.ask("/?show=favourites"))
    assert visitor.mark("a01", mark="maybe").status == 400


# --- what is no page


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?page=2",
        "?utm_source=mail&utm_medium=x",
        "?fbclid=a&page=2&gclid",
        "?page=2&page=3",
        "?show=favourites",
        "?%ff=%00&&==&;",
        "?" + "a=b&" * 1500,
    ],
)
def test_keys_that_others_have_added_are_ignored(wall, query):
    assert wall.request(f"/{query}").status == 200


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=",
        "page=abc",
        "page=1.5",
        "page=01",
        "page=1%20",
        "page=%d9%a1",
        "page=18",
        "page=999999999",
        "page=9999999999999999999999",
        "page=0&page=1",
        "show=all",
        "show=",
        "show=favourites&page=2",
        "picture=",
    ],
)
def test_what_is_no_page_is_404_and_leads_home(wall, query):
    answer = wall.request(f"/?{query}")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b'<a href="/">To the pictures</a>' in answer.body
    assert wall.request(f"/?{query}", "HEAD").body == b""


def test_query_that_is_not_utf8_is_400(wall):
    with socket.create_connection(("127.0.0.1", wall.port), 30) as client:
        client.sendall(b"GET /?page=2&x=\xff HTTP/1.0\r\n\r\n")
        assert client.recv(100).split()[1] == b"400"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_405(wall, method):
    answer = wall.request("/", method, body="")
    assert answer.status == 405
    assert {"GET", "HEAD"} <= set(re.split(", ?", answer.headers["Allow"]))


def test_policy_allows_the_style_and_the_script_of_the_page_alone(wall):
    policy = wall.request("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "*" not in policy
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/=]{44}'", policy)) == 2


# --- addresses


def test_prefixes_are_options_and_originals_may_be_off(own_site):
    option = "SetEnv PythonOption." if own_site.server == "mod_wsgi" else "PythonOption "
    given = (f"{option}thumbnail.url /t/x", f"{option}images.url off")
    own_site.extra = "\n".join(('<LocationMatch "^/$">', *given, "</LocationMatch>"))
    with own_site:
        text = text_of(own_site.request("/"))
        assert 'src="/t/x/200x200/p000.jpg"' in text and "/thumbs/" not in text
        one = text_of(own_site.request("/?page=1&picture=p000"))
        assert 'src="/t/x/400x400/p000.jpg"' in one and "Original" not in one


@pytest.mark.parametrize(
    "sizes, small, double, large",
    [
        ("200x200", "200x200", None, "200x200"),
        ("100x100-crop 200x200-crop 150x150", "100x100-crop", "200x200-crop", "150x150"),
        ("100x100 900x400 600x600", "100x100", None, "900x400"),
    ],
)
def test_sizes(sizes, small, double, large):
    assert gallery._sizes(tuple(sizes.split())) == (small, double, large)


def test_wrong_sizes_are_a_line_and_500(own_site):
    own_site.settings("thumbnail.sizes = 200x200 0x1")
    own_site.expect("thumbnail.sizes: '200x200 0x1' is not a list of sizes")
    with own_site:
        assert own_site.request("/").status == 500


@pytest.mark.parametrize(
    "id, path",
    [
        ("a_-9", "a_-9"),
        ("foo.bar", "foo%252Ebar"),
        ("a b/c", "a%2520b%252Fc"),
        ("Fähre", "F%25C3%25A4hre"),
        ("100%", "100%2525"),
    ],
)
def test_id_in_a_path_is_its_name_encoded_once_more(id, path):
    assert names.in_url(names.of(id)) == path


def test_page_costs_no_more_lookups_than_it_has_pictures(monkeypatch):
    class Pictures:
        asked = 0

        def page(self, start, count, private):
            return [f"p{number}" for number in range(start, start + count)], PLAIN

        def public(self, id):
            self.asked += 1
            return gallery.lookup.Row(f"{id}.jpg")

    pictures = Pictures()
    asked = gallery.parse("page=2")
    shelf = gallery.Shelf(pictures, False, [], asked)
    frame = page.Frame("/thumbs", None, "1x1", None, "1x1", None, False, False)
    assert "page 2 of 17" in gallery._page(frame, shelf, 2)
    assert pictures.asked == page.LENGTH
    gallery._one(frame, shelf, gallery.parse("page=2&picture=p70"))
    assert pictures.asked == page.LENGTH + 1
