"""A site whose pictures have the names and forms that a gallery must cope with."""

import os
import pathlib

from PIL import Image, ImageDraw

from handlers import htpasswd
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.visitor import PASSWORD

LONG = "Ein sehr langer Name einer Datei, der unter kein Bild passt"
USER = "ann"
#: pictures with names of no interest, after the others
PLAIN = 1000
PAGES = 17
ROWS = {
    "a01": "Ærø-Fähre.jpg",
    "a02": "2024/京都.jpg",
    "a03": f"{LONG}.jpeg",
    "a04": "icon.png",
    "a05": "ring.png",
    "a06": "broken.jpg",
    "a07": "missing.jpg",
    "a08": "private/Geheimnis.jpg",
    "a09": b"caf\xe9.jpg",
    "a10": "<b>&\"'.jpg",
    **{f"b{number:04d}": f"IMG_{number:04d}.jpg" for number in range(PLAIN)},
}
PRIVATE = ("a08",)
BROKEN = ("a06", "a07")


def make_wall(directory: pathlib.Path, server: str, **options) -> Httpd:
    """Return the site, not started yet; ann can sign in."""
    root = directory / "pictures"
    for folder in ("2024", "private"):
        (root / folder).mkdir(parents=True)
    first = None
    for id, path in ROWS.items():
        file = root / os.fsdecode(path)
        if id == "a04":
            _ring(16).save(file)
        elif id == "a05":
            _ring(500).save(file)
        elif id == "a06":
            file.write_text("this is no picture")
        elif first is None:
            Image.new("RGB", (640, 480), (40, 90, 160)).save(file)
            os.utime(file, (1.7e9, 1.7e9))
            first = file
        elif id != "a07":
            os.link(first, file)
    url = make_images_table(directory / "images.db", ROWS, PRIVATE)
    site = Httpd(directory / "site", server, url, root, **options)
    site.write_settings(url, root, "private", snapshot=True)
    users = pathlib.Path(site.work.users)
    users.write_text(f"{USER}:{htpasswd.encode(PASSWORD)}\n")
    users.chmod(0o644)
    return site


def _ring(side: int) -> Image.Image:
    """Return a ring of black and white on nothing."""
    ring = Image.new("RGBA", (side, side))
    for width, colour in ((side // 4, "black"), (side // 8, "white")):
        ImageDraw.Draw(ring).ellipse((0, 0, side - 1, side - 1), outline=colour, width=width)
    return ring
