"""What Chromium shows of the members is what is recorded of it."""

import base64

import pytest

from tests.pictures.chart import apart
from tests.pictures.members import MEMBERS, record, recorded
from tests.servers.browser import chromium

#: Another Chromium may round otherwise.
_MOST = 0.5
# draws the picture at 128 by 128, and takes the means of the inner half of each eighth
_GRID = """
const [address, done] = arguments;
const picture = new Image();
picture.onload = () => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 128;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(picture, 0, 0, 128, 128);
  const pixels = context.getImageData(0, 0, 128, 128).data;
  const grid = [];
  for (let cell = 0; cell < 64; cell++) {
    const sums = [0, 0, 0, 0];
    for (let inner = 0; inner < 64; inner++) {
      const x = (cell % 8) * 16 + 4 + inner % 8;
      const y = (cell >> 3) * 16 + 4 + (inner >> 3);
      const [red, green, blue, alpha] = pixels.slice(4 * (y * 128 + x), 4 * (y * 128 + x) + 4);
      [red, green, blue].forEach((value, at) => { sums[at] += value * alpha / 255; });
      sums[3] += alpha;
    }
    grid.push(sums.map(sum => Math.round(sum / 64)));
  }
  done([picture.naturalWidth, picture.naturalHeight, grid]);
};
picture.onerror = () => done(null);
picture.src = address;
"""


@pytest.fixture(scope="module")
def shown(request):
    """What Chromium shows, in the form of what is recorded."""
    found = {}
    with chromium() as browser:
        browser.set_script_timeout(120)
        browser.get("data:text/html,<p>pictures")
        for name, make in MEMBERS.items():
            # Chromium looks at the bytes, whatever the type says
            address = "data:image/jpeg;base64," + base64.b64encode(make()).decode()
            told = browser.execute_async_script(_GRID, address)
            found[name] = told and tuple(told)
    if request.config.getoption("--record-pictures"):
        record(found)
        recorded.cache_clear()
    return found


def test_chromium_shows_what_is_recorded(shown):
    assert list(shown) == list(recorded())
    differing = {}
    for name, told in shown.items():
        before = recorded()[name]
        if told is None or before is None:
            if told is not before:
                differing[name] = told, before
        elif told[:2] != before[:2] or apart(told[2], before[2]) > _MOST:
            differing[name] = told, before
    assert not differing
