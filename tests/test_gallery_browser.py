"""The gallery in a real browser: what is seen, keys, touch, contrast, and the console."""

import io
import itertools

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.conftest import SERVERS, watched
from tests.servers.browser import LOADED, chromium, screen, show
from tests.servers.visitor import PASSWORD
from tests.servers.wall import BROKEN, LONG, PAGES, USER, make_wall

# Each text with its ratio of contrast (WCAG 2.1, 1.4.3), those that style sheets add as well.
_CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => {
  const [r, g, b] = channels(colour).slice(0, 3).map((value) => {
    value /= 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const opaque = (style) => (channels(style.backgroundColor)[3] ?? 1) === 1;
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const style = getComputedStyle(node);
    if (opaque(style)) return style.backgroundColor;
  }
  return "rgb(255, 255, 255)";
};
const ratio = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const found = [];
for (const node of document.body.querySelectorAll("*")) {
  const style = getComputedStyle(node);
  const text = [...node.childNodes].filter((child) => child.nodeType === 3)
    .map((child) => child.data.trim()).join("");
  if (text) found.push([text, ratio(style.color, ground(node))]);
  if (style.opacity !== "1") found.push(["opacity of " + node.className, 0]);
  for (const pseudo of ["::before", "::after"]) {
    const style = getComputedStyle(node, pseudo);
    const behind = opaque(style) ? style.backgroundColor : ground(node);
    if (style.content !== "none") found.push([style.content, ratio(style.color, behind)]);
  }
}
return found;
"""


@pytest.fixture(scope="module", params=SERVERS)
def wall_site(request, base):
    directory = base / f"browser-wall-{request.param}"
    directory.mkdir()
    with make_wall(directory, request.param) as server:
        yield server


@pytest.fixture
def wall(wall_site):
    for site in watched(wall_site):
        site.expect(r"thumbnail \S*/a0[67]\.jpg: ")
        yield site


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(driver):
    """A browser without cookies, whose console must stay empty."""
    driver.delete_all_cookies()
    yield driver
    for command in ("Emulation.clearDeviceMetricsOverride", "Emulation.setEmulatedMedia"):
        driver.execute_cdp_cmd(command, {})
    assert complaints(driver) == []


def complaints(browser):
    """Return what the console holds, but for what is known to be missing.

    The browser looks for a favicon on pages that name none: originals, and the server's own pages.
    """
    missing = ("/favicon.ico", *(f"/{id}.jpg" for id in BROKEN))
    said = [entry["message"] for entry in browser.get_log("browser")]
    return [line for line in said if not any(f"{path} - Failed" in line for path in missing)]


def wait_for_complaint(browser, text):
    """Wait until the console says *text*, which it may do a moment after the page has changed."""
    WebDriverWait(browser, 90).until(lambda b: text in "".join(complaints(b)))


def press(browser, key):
    """Press a key and wait for the page that it leads to."""
    ready = "return document.readyState === 'complete'"
    # or its script may not listen yet
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(ready))
    before = browser.current_url
    browser.find_element(By.TAG_NAME, "body").send_keys(key)
    WebDriverWait(browser, 90).until(lambda b: b.current_url != before)
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(ready))


def sign_in(browser, site):
    show(browser, site, "/signin")
    browser.find_element(By.NAME, "user").send_keys(USER)
    browser.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)
    WebDriverWait(browser, 90).until(lambda b: "Sign out" in b.page_source)


def wait_for(browser, selector):
    """Wait for an element."""
    WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))


def active(browser):
    return browser.execute_script("return document.activeElement.id")


# --- the gallery


def test_captions_are_names_and_a_cut_one_can_be_read_whole(wall, browser):
    show(browser, wall, "/")
    captions = browser.find_elements(By.CLASS_NAME, "caption")
    assert [caption.text for caption in captions[:2]] == ["Ærø-Fähre", "京都"]
    captions = "[...document.querySelectorAll('.caption')]"
    cut = f"return {captions}.filter(c => c.scrollWidth > c.clientWidth)"
    for width in (1280, 390, 320):
        screen(browser, width)
        found = browser.execute_script(cut)
        assert LONG in [caption.get_attribute("title") for caption in found]
        assert all(caption.get_attribute("title") for caption in found)


def test_pictures_load_and_paging_works_by_number_and_by_name(wall, browser):
    show(browser, wall, "/?page=2")
    widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert widths == [200] * 60
    for link, page in (("Previous page", 1), ("17", 17), ("16", 16), ("Next page", 17), ("1", 1)):
        browser.find_element(By.LINK_TEXT, link).click()
        WebDriverWait(browser, 90).until(lambda b, n=page: f"page {n} of {PAGES}" in b.title)
        current = browser.find_element(By.CSS_SELECTOR, "[aria-current=page]")
        assert current.text == str(page)


def test_small_picture_is_not_blown_up_and_transparency_stays(wall, browser):
    show(browser, wall, "/")
    icon = browser.find_element(By.CSS_SELECTOR, "#p-a04 img")
    assert icon.size == {"width": 16, "height": 16}
    show(browser, wall, "/?page=1&picture=a04")
    assert browser.find_element(By.TAG_NAME, "img").size == {"width": 16, "height": 16}
    # the ring's middle shows the squares behind it, whatever the scheme
    for path, scheme in itertools.product(("/", "/?page=1&picture=a05"), ("light", "dark")):
        screen(browser, 1280, scheme=scheme)
        show(browser, wall, path)
        ring = browser.find_element(By.CSS_SELECTOR, 'img[alt="ring"]')
        seen = Image.open(io.BytesIO(ring.screenshot_as_png)).convert("L")
        side = min(seen.size)
        middle = seen.crop((side * 3 // 8, side * 3 // 8, side * 5 // 8, side * 5 // 8))
        colours = sorted(middle.getcolors(), reverse=True)[:2]
        assert {colour for _, colour in colours} == {0x8C, 0xC4}


def test_picture_that_cannot_be_made_says_so_in_its_tile(wall, browser):
    show(browser, wall, "/")
    for id in BROKEN:
        image = browser.find_element(By.CSS_SELECTOR, f"#p-{id} img")
        assert browser.execute_script("return arguments[0].naturalWidth", image) == 0
        tile = browser.find_element(By.CSS_SELECTOR, f"#p-{id} .ground")
        # a plain ground with text on it, and no picture of a torn sheet
        seen = Image.open(io.BytesIO(tile.screenshot_as_png)).convert("RGB")
        colours = sorted(seen.getcolors(1 << 20), reverse=True)
        assert colours[0][1] == (0xEC,) * 3
        middle = seen.crop((0, seen.height // 4, seen.width, seen.height * 3 // 4))
        assert (0x54,) * 3 in {colour for _, colour in middle.getcolors(1 << 20)}
        assert all(max(c) - min(c) < 60 for _, c in middle.getcolors(1 << 20))
    said = "return getComputedStyle(arguments[0], '::after').content"
    assert browser.execute_script(said, image) == '"This picture cannot be shown"'
    whole = browser.find_element(By.CSS_SELECTOR, "#p-a01 img")
    size = browser.execute_script("return arguments[0].naturalWidth", whole)
    assert size == 200


def test_private_picture_is_marked(wall, browser):
    sign_in(browser, wall)
    (mark,) = browser.find_elements(By.CLASS_NAME, "private")
    assert mark.is_displayed() and mark.text == "Private"
    assert browser.find_element(By.CSS_SELECTOR, "#p-a08 .private") == mark


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_pages_fit_the_screen(wall, browser, width):
    sign_in(browser, wall)
    screen(browser, width, scale=2)
    for path in ("/?page=1", "/?page=9", "/?page=1&picture=a03", "/signin"):
        show(browser, wall, path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_dense_screen_gets_dense_pictures(wall, browser):
    screen(browser, 390, scale=2)
    show(browser, wall, "/?page=2")
    sources = browser.execute_script("return [...document.images].map(i => i.currentSrc)")
    assert all("/thumbs/400x400/" in source for source in sources)


# --- one picture


def test_keys_lead_from_picture_to_picture_and_back_to_the_place(wall, browser):
    show(browser, wall, "/?page=2")
    tiles = browser.find_elements(By.CLASS_NAME, "tile")
    first = tiles[0].get_attribute("id").removeprefix("p-")
    tiles[0].send_keys(Keys.ENTER)
    WebDriverWait(browser, 90).until(lambda b: f"picture={first}" in b.current_url)
    press(browser, Keys.ARROW_RIGHT)
    press(browser, Keys.ARROW_LEFT)
    assert browser.current_url.endswith(f"/?page=2&picture={first}")
    press(browser, Keys.ARROW_LEFT)
    last = browser.current_url.rpartition("=")[2]
    assert "/?page=1&" in browser.current_url
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(LOADED))
    assert browser.execute_script("return document.images[0].naturalWidth") == 400
    # keys with Alt or Control belong to the browser
    browser.execute_script(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', altKey: true}))"
    )
    press(browser, Keys.ESCAPE)
    assert browser.current_url.endswith(f"/?page=1#p-{last}")
    assert active(browser) == f"p-{last}"
    place = browser.find_element(By.ID, f"p-{last}").rect["y"]
    top = browser.execute_script("return scrollY")
    assert top <= place <= top + browser.execute_script("return innerHeight") - 100


def test_ends_have_no_way_on(wall, browser):
    show(browser, wall, "/?page=1&picture=a01")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_LEFT)
    assert browser.current_url.endswith("picture=a01")
    assert not browser.find_elements(By.LINK_TEXT, "Previous")
    browser.find_element(By.LINK_TEXT, "Original").click()
    WebDriverWait(browser, 90).until(lambda b: b.current_url.endswith("/images/a01"))
    width = "return document.images[0]?.naturalWidth"
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(width) == 640)


# --- stars


def test_star_keeps_the_page_and_the_focus(wall, browser):
    show(browser, wall, "/?page=2")
    star = browser.find_elements(By.CSS_SELECTOR, ".star button")[40]
    browser.execute_script("arguments[0].scrollIntoView({block: 'end'})", star)
    browser.execute_script("arguments[0].focus({preventScroll: true})", star)
    place, id = browser.execute_script("return scrollY"), star.get_attribute("id")
    address = browser.current_url
    for number in range(5):
        star.send_keys(Keys.SPACE if number % 2 else Keys.ENTER)
        pressed = f"#{id}[aria-pressed={'false' if number % 2 else 'true'}]"
        wait_for(browser, pressed)
        assert browser.execute_script("return scrollY") == place
        assert (active(browser), browser.current_url) == (id, address)
    browser.refresh()
    assert browser.find_element(By.ID, id).get_attribute("aria-pressed") == "true"
    show(browser, wall, "/?show=favourites")
    assert "Favourites: 1," in browser.find_element(By.TAG_NAME, "h1").text


def test_star_works_without_scripts(wall, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"http://127.0.0.1:{wall.port}/?page=2")
        star = browser.find_elements(By.CSS_SELECTOR, ".star button")[40]
        id = star.get_attribute("id")
        star.send_keys(Keys.ENTER)
        wait_for(browser, f"#{id}[aria-pressed=true]")
        assert browser.current_url.endswith(f"/?page=2#{id}")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert active(browser) == id
    rect = "return arguments[0].getBoundingClientRect().top / innerHeight"
    star = browser.find_element(By.ID, id)
    assert 0.2 < browser.execute_script(rect, star) < 0.8


def test_star_that_is_refused_shows_why(wall, browser):
    wall.expect("form refused")
    show(browser, wall, "/")
    star = browser.find_element(By.CSS_SELECTOR, ".star button")
    browser.execute_script("arguments[0].value = 'no id'", star)
    star.click()
    WebDriverWait(browser, 90).until(lambda b: b.current_url.endswith("/favourites"))
    wait_for_complaint(browser, "400 (Bad Request)")


# --- for hands and eyes


def test_targets_are_large_enough_to_touch_and_to_type_into(wall, browser):
    sign_in(browser, wall)
    screen(browser, 390)
    for path in ("/?page=2", "/?page=1&picture=a02", "/signin"):
        show(browser, wall, path)
        for one in browser.find_elements(
            By.CSS_SELECTOR, "button, nav a, header a, input:not([type=hidden])"
        ):
            size = one.size
            assert size["height"] >= 44 and size["width"] >= 44, (
                path,
                one.get_attribute("outerHTML"),
            )
            assert float(one.value_of_css_property("font-size")[:-2]) >= 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_contrast_is_enough_in_both_schemes(wall, browser, scheme, width):
    sign_in(browser, wall)
    screen(browser, width, scheme=scheme)
    for path in ("/?page=1", "/?page=1&picture=a08", "/?show=favourites", "/signin", "wrong"):
        if path == "wrong":
            browser.find_element(By.NAME, "user").send_keys("nobody")
            browser.find_element(By.NAME, "password").send_keys("wrong", Keys.ENTER)
            WebDriverWait(browser, 90).until(lambda b: "Wrong name" in b.page_source)
            wait_for_complaint(browser, "403 (Forbidden)")
        else:
            show(browser, wall, path)
        found = browser.execute_script(_CONTRASTS)
        assert found
        assert [text for text in found if text[1] < 4.5] == [], path


def test_dark_is_dark(wall, browser):
    for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 22, 22)")):
        screen(browser, 1280, scheme=scheme)
        show(browser, wall, "/")
        ground = "return getComputedStyle(document.body).backgroundColor"
        assert browser.execute_script(ground) == colour


def test_policy_keeps_foreign_scripts_out(wall, browser):
    show(browser, wall, "/")
    browser.execute_script("""
        const script = document.createElement("script");
        script.textContent = "document.title = 'foreign'";
        document.body.append(script);
        const image = "<img src='data:,' onerror='document.title = 1'>";
        document.body.insertAdjacentHTML("beforeend", image);
    """)
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(LOADED))
    assert browser.title.startswith("Pictures")
    said = []
    WebDriverWait(browser, 90).until(lambda b: said.extend(complaints(b)) or len(said) >= 2)
    assert all("Content Security Policy" in line for line in said)
