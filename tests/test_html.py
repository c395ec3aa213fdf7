"""The address of a thumbnail, and the <img>, in a site's own pages."""

import re

import pytest

from handlers import html, signing
from handlers.errors import Misconfigured

INI = """\
[thumbnail]
sizes = 200x200 400x400 800x800 100x100-crop 200x200-crop 300x200
keys = a-key-of-24-characters-.
url = /site/thumbs
[lookup]
encode_ids = on
"""


@pytest.fixture(autouse=True)
def site(tmp_path):
    path = tmp_path / "settings.ini"
    path.write_text(INI)
    path.chmod(0o600)
    html.configure(str(path))
    yield path
    html._file = None


def attributes(tag):
    assert re.fullmatch(r"<img(?: [a-z]+=\"[^\"<>]*\")+>", tag)
    return dict(re.findall(r'([a-z]+)="([^"]*)"', tag))


def test_listed_size_needs_no_signature():
    assert html.url("12345", "200x200") == "/site/thumbs/200x200/12345"
    assert html.url("12345", "200x200", "webp") == "/site/thumbs/200x200/12345.webp"
    assert html.url("foo.bar", "200x200", "jpg") == "/site/thumbs/200x200/foo%252Ebar.jpg"


def test_other_size_is_signed():
    found = html.url("12345", "640x480", "jpg")
    assert found == signing.url("640x480/12345.jpg", "a-key-of-24-characters-.", "/site/thumbs")


@pytest.mark.parametrize("id, size", [("", "200x200"), ("a", "0x0"), ("a", "big")])
def test_what_can_be_no_url_is_refused(id, size):
    with pytest.raises(ValueError):
        html.url(id, size)


def test_size_that_would_be_404_is_refused(site):
    with pytest.raises(Misconfigured, match="4000x4000"):
        html.url("1", "4000x4000")


def test_img_by_density():
    tag = attributes(html.img("7", "200x200", "A boat"))
    assert tag["src"] == "/site/thumbs/200x200/7"
    assert tag["srcset"] == (
        "/site/thumbs/200x200/7 1x, /site/thumbs/400x400/7 2x, /site/thumbs/800x800/7 4x"
    )
    assert (tag["alt"], tag["loading"], tag["decoding"]) == ("A boat", "lazy", "async")
    # nobody knows the shape of the picture
    assert "width" not in tag


def test_img_by_width():
    tag = attributes(html.img("7", "400x400", "", sizes="50vw", width=3000, height=1500))
    assert tag["srcset"].startswith("/site/thumbs/200x200/7 200w, ")
    assert (tag["sizes"], tag["width"], tag["height"]) == ("50vw", "400", "200")


def test_img_of_a_crop_knows_its_size():
    tag = attributes(html.img("7", "100x100-crop", "", lazy=False))
    assert (tag["width"], tag["height"]) == ("100", "100")
    assert tag["srcset"].endswith("/200x200-crop/7 2x")
    assert "loading" not in tag


def test_size_that_stands_alone_has_no_srcset():
    assert "srcset" not in attributes(html.img("7", "300x200", ""))


def test_nothing_of_a_text_gets_out_of_its_attribute():
    tag = html.img("7", "300x200", '"><script>alert(1)</script>')
    assert "<script" not in tag and attributes(tag)["alt"].startswith("&quot;&gt;")


def test_process_without_a_settings_file_says_so(monkeypatch):
    monkeypatch.setattr(html, "_file", None)
    monkeypatch.setattr(html.settings, "_default_path", None)
    with pytest.raises(Misconfigured, match=r"handlers\.html\.configure"):
        html.url("1", "200x200")


def test_jinja_and_django_do_not_escape_it():
    import django
    import jinja2
    from django.conf import settings as django_settings
    from django.template import Context, Engine, Library

    environment = jinja2.Environment(autoescape=True)
    environment.filters["thumbnail"] = html.img
    page = environment.from_string("{{ id | thumbnail('300x200', 'A & B') }}")
    wanted = str(html.img("7", "300x200", "A & B"))
    assert page.render(id="7") == wanted
    if not django_settings.configured:
        django_settings.configure()
        django.setup()
    library = Library()
    library.simple_tag(html.img, name="thumbnail")
    engine = Engine()
    engine.template_libraries["x"] = library
    engine.template_builtins.append(library)
    template = engine.from_string("{% thumbnail id '300x200' 'A & B' %}")
    assert template.render(Context({"id": "7"})) == wanted
