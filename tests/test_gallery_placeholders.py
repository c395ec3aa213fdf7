"""Blurred placeholders in the gallery: made by the quickstart, shown while a picture is loaded."""

import base64
import configparser
import contextlib
import io
import os
import re
import shutil
import sqlite3
import urllib.request

import pytest
from PIL import Image

from handlers import html, page
from tests.servers.browser import chromium
from tests.support import until

WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait


def webp(**options):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((20, 15)).save(buffer, "WEBP", **options)
    return buffer.getvalue()


def text_of(data):
    return base64.b64encode(data).decode()


BLURRED = text_of(webp(quality=50))
# of each picture of a page: its id, the thumbnail's state and box, the placeholder's
BOXES = """
// where the picture itself is in its box: object-fit is contain
const box = (image) => {
  const r = image.getBoundingClientRect();
  const scale = Math.min(r.width / image.naturalWidth, r.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  return [r.left + (r.width - width) / 2, r.top + (r.height - height) / 2, width, height];
};
return [...document.querySelectorAll(".tile")].map((tile) => {
  const images = [...tile.querySelectorAll("img")];
  const thumb = images.at(-1), blurred = images.length > 1 ? images[0] : null;
  return { id: tile.id, loaded: thumb.complete && thumb.naturalWidth > 0, thumb: box(thumb),
    blurred: blurred && box(blurred), width: blurred && blurred.naturalWidth };
});
"""


def loaded(browser):
    """Return of the pictures of the page what BOXES tells, if they are there."""
    return [found for found in browser.execute_script(BOXES) if found["loaded"]]


def tile(placeholder, path="a.jpg", size="200x200", private=False):
    frame = page.Frame("/thumbs", None, size, None, "400x400", None, False, False)
    picture = page.Picture("a", path, private, False, placeholder)
    return page.gallery(frame, [picture], 1, 1, 1)


@pytest.mark.parametrize(
    ("size", "attributes"),
    [
        ("200x200", 'class="placeholder" src="{}" width="200" height="150"'),
        ("300x90", 'class="placeholder" src="{}" width="120" height="90"'),
        ("120x300-crop", 'class="placeholder crop" src="{}" width="120" height="300"'),
    ],
)
def test_placeholder_has_the_place_of_the_thumbnail(size, attributes):
    wanted = attributes.format(f"data:image/webp;base64,{BLURRED}")
    assert f'<img {wanted} alt="">' in tile(BLURRED, size=size)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "UklGRgAA", '"><script>', BLURRED[:36], BLURRED * 9),
        # of another kind, or without pixels
        text_of(webp(lossless=True)),
        text_of(webp(quality=50)[:26] + bytes(4) + webp(quality=50)[30:]),
    ],
)
def test_what_is_no_placeholder_is_left_out(text):
    assert html.read_placeholder(text) is None
    assert "placeholder" not in tile(text).partition("</head>")[2]


def test_picture_that_is_not_here_has_none():
    assert "placeholder" not in tile(BLURRED, path=None).partition("</head>")[2]


@pytest.fixture
def started(quickstart, public_dir):
    """The folder of a quickstart, and how to start it (again); its gallery's address comes back."""
    folder = public_dir / "pictures"
    (folder / "private").mkdir(parents=True)
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(folder / "a00.jpg")
    for number in range(1, 60):
        shutil.copy(folder / "a00.jpg", folder / f"a{number:02d}.jpg")
    shutil.copy(folder / "a00.jpg", folder / "private" / "one.jpg")
    Image.new("RGBA", (300, 200), (9, 90, 200, 90)).save(folder / "b.png")
    (folder / "c.jpg").write_text("this is no picture")
    Image.new("RGB", (40, 30), "red").save(folder / "small.jpg")

    def start():
        done = quickstart.run(folder, "--port", quickstart.port, "--detach")
        assert done.returncode == 0, done.stderr
        return re.search(r"Gallery: +(\S+)", done.stdout)[1]

    return folder, start


def blurs(quickstart):
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(os.path.join(quickstart.work, "etc", "settings.ini"))
    path = settings["lookup"]["database"].removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, blur FROM images"))


def test_quickstart_fills_and_keeps_them(quickstart, started):
    folder, start = started
    start()
    first = blurs(quickstart)
    assert html.read_placeholder(first["a00"])[1:] == (20, 15)
    assert [id for id, text in first.items() if text is None] == ["c", "private-one"]
    broken = [id for id, text in first.items() if text == ""]
    assert len(broken) == 1 and broken[0].startswith("b-")
    quickstart.run("--stop")
    Image.new("RGB", (300, 300), "green").save(folder / "a01.jpg")
    address = start()
    second = blurs(quickstart)
    assert html.read_placeholder(second["a01"])[1:] == (20, 20)
    assert second == {**first, "a01": second["a01"]}
    with urllib.request.urlopen(address, timeout=60) as answer:
        text = answer.read().decode()
    assert text.count('<img class="placeholder" src="data:image/webp;base64,') == 60


@pytest.mark.parametrize("scripts", [True, False])
def test_browser_shows_them_until_the_thumbnails_are_there(started, scripts):
    address = started[1]()
    with chromium() as browser:
        browser.set_window_size(390, 844)
        if not scripts:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(address)
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(BOXES)[0]["loaded"])
        if scripts:
            # what is far below is not loaded, and has its placeholder
            below = browser.execute_script(BOXES)[-1]
            assert (below["loaded"], below["width"]) == (False, 20)
            assert below["blurred"][2] > 100
        if scripts:
            # the page hears of it a moment later
            until(lambda: all(box["blurred"] is None for box in loaded(browser)))
        else:
            for found in loaded(browser):
                assert found["blurred"] == pytest.approx(found["thumb"], abs=2), found
        if scripts:
            # a small picture, on the second page, has nothing around it
            browser.get(f"{address}?page=2")
            last = until(lambda: {box["id"]: box for box in loaded(browser)}.get("p-small"))
            assert last["thumb"][2:] == [40, 30]
            until(lambda: browser.execute_script(BOXES)[-1]["blurred"] is None)
            browser.get(f"{address}?page=1&picture=a00")
            said = [entry["message"] for entry in browser.get_log("browser")]
            assert all("/c.jpg - Failed" in line for line in said), said
