"""The pictures to serve: those of a folder, or samples of our own making."""

import collections
import hashlib
import math
import os
import random
import re
import stat
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, features

_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp") + (
    (".avif",) if features.check("avif") else ()
)
# What a suffix is called, where that is not the suffix itself.
_KINDS = {"TIF": "TIFF", "HEIF": "HEIC", "SVGZ": "SVG", "M4V": "MP4", "MPG": "MPEG", "HTM": "HTML"}
_KINDS_NAMED = 8
_LONGEST_PLAIN = 100
# A name without a dash, with several, or with a number behind its only one; or a folder and a name
# without dashes, but for a number. So a text with one dash is either of the two, never both.
_PLAIN = re.compile(r"(?:\w+|\w+-[0-9]+|\w*-\w*-[\w-]*|\w+/(?![0-9]+\.)\w+)\.jpg", re.ASCII)
_HASHED = re.compile(r"-[0-9a-f]{12}\Z")
_LONGEST_KIND = 8
_SAMPLES = 72
_PRIVATE_SAMPLES = 4
_SAMPLE_SIZE = (1600, 1200)
_TILE = 400  # pixels, as the largest thumbnail of the drop-in
_TILE_COLOURS = (238, 238, 238), (105, 105, 105)


def find(root: str) -> tuple[dict[str, str], dict[str, int]]:
    """Return ``{id: path relative to root}`` of the pictures below *root*, in order of their paths,
    and how many files of each kind are left out.

    An id is a function of the path alone, see :func:`id_of`: it stays while others come and go.
    Hidden files and folders are left out, and what this process may not read: it should have the
    rights of Apache's user.
    """
    paths = []
    skipped = collections.Counter()

    def unreadable(error: OSError) -> None:
        skipped["folders closed to Apache's user"] += 1

    for directory, folders, files in os.walk(root, onerror=unreadable):
        skipped["hidden"] += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith("."):
                continue
            why = _why_not(root, directory, name)
            if why is None:
                paths.append(os.path.relpath(os.path.join(directory, name), root))
            else:
                skipped[why] += 1
    found = {id_of(path): path for path in sorted(paths)}
    return found, {kind: count for kind, count in skipped.items() if count}


def id_of(path: str) -> str:
    """Return the id of the picture at *path*, relative to the folder; no two paths have the same.

    That of ``hills.jpg`` is ``hills``, that of ``sub/hills.jpg`` is ``sub-hills``. Where another
    path would come to the same text, as ``hills.png`` and ``sub-hills.jpg`` would, a hash of the
    path is added to it.
    """
    id = re.sub(r"[^A-Za-z0-9_-]+", "-", os.path.splitext(path)[0])[:_LONGEST_PLAIN]
    if _PLAIN.fullmatch(path) and not _HASHED.search(id) and path == path[:_LONGEST_PLAIN]:
        return id
    return f"{id or 'picture'}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def listed(skipped: dict[str, int]) -> str:
    """Return what was left out as a list, as in ``3 TIFF, 2 HEIC, 1 SVG``; the most come first."""
    kinds = sorted(skipped.items(), key=lambda item: -item[1])
    rest = sum(count for _, count in kinds[_KINDS_NAMED:])
    named = [f"{count} {kind}" for kind, count in kinds[:_KINDS_NAMED]]
    return ", ".join([*named, f"{rest} others"] if rest else named)


def is_private(path: str) -> bool:
    """Tell whether a picture is for those who sign in: it lies in a folder named ``private``."""
    return "private" in path.split("/")[:-1]


def make_error_picture(path: str) -> None:
    """Write the tile that is shown in place of a picture that cannot be made, unless it is there.

    It says so in letters that can still be read at 200 pixels.
    """
    if os.path.exists(path):
        return
    ground, ink = _TILE_COLOURS
    tile = Image.new("RGB", (_TILE, _TILE), ground)
    font = ImageFont.load_default(_TILE // 8)
    place = (_TILE // 2, _TILE // 2)
    ImageDraw.Draw(tile).text(place, "no picture", font=font, fill=ink, anchor="mm")
    tile.save(path + ".new", "PNG", optimize=True)
    os.replace(path + ".new", path)


def make_samples(root: str) -> None:
    """Fill the folder *root* with sample pictures, those it does not have yet."""
    os.makedirs(os.path.join(root, "private"), exist_ok=True)
    grain = Image.effect_noise(_SAMPLE_SIZE, 24)

    def make(number: int) -> None:
        folder = "private/" if number >= _SAMPLES - _PRIVATE_SAMPLES else ""
        path = os.path.join(root, f"{folder}sample-{number + 1:02d}.jpg")
        if not os.path.exists(path):
            _landscape(number, grain).save(path + ".new", "JPEG", quality=88)
            os.replace(path + ".new", path)

    # Pillow works without Python's lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(_SAMPLES)))


def _landscape(seed: int, grain: Image.Image) -> Image.Image:
    """Draw hills under a sky with a sun; every number gives another one."""
    dice = random.Random(seed)
    width, height = _SAMPLE_SIZE
    hue = dice.randrange(256)
    sky = Image.linear_gradient("L").resize(_SAMPLE_SIZE)
    picture = Image.merge(
        "HSV", (Image.new("L", _SAMPLE_SIZE, hue), ImageChops.invert(sky), sky.point(_lighter))
    ).convert("RGB")
    draw = ImageDraw.Draw(picture)
    x, y, radius = dice.randrange(width), dice.randrange(height // 2), dice.randrange(50, 140)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 244, 214))
    for layer in range(5):
        base = height * (0.45 + 0.12 * layer)
        waves = [(dice.uniform(20, 90), dice.uniform(0.5, 4), dice.uniform(0, 6)) for _ in "abc"]
        ridge = [
            (x, base + sum(a * math.sin(f * 6.28 * x / width + p) for a, f, p in waves))
            for x in range(0, width + 20, 20)
        ]
        colour = f"hsl({(hue * 360 // 256 + 140 + layer * 12) % 360}, 35%, {48 - layer * 9}%)"
        draw.polygon([*ridge, (width, height), (0, height)], fill=colour)
    picture = picture.filter(ImageFilter.BoxBlur(1))
    return ImageChops.overlay(picture, Image.merge("RGB", (grain,) * 3))


def _lighter(value: int) -> int:
    return 150 + value * 105 // 255


def _why_not(root: str, directory: str, name: str) -> str | None:
    """Return the kind of file that *name* is if it is not served, else None."""
    path = os.path.join(directory, name)
    if not name.lower().endswith(_SUFFIXES):
        suffix = os.path.splitext(name)[1][1:].upper()
        if not re.fullmatch(f"[A-Z0-9]{{1,{_LONGEST_KIND}}}", suffix):
            return "without a known suffix"
        return _KINDS.get(suffix, suffix)
    try:
        path.encode()
    except UnicodeEncodeError:
        return "with a name that is not UTF-8"
    try:
        found = os.stat(path)
    except OSError:
        return "broken links"
    if not stat.S_ISREG(found.st_mode):
        return "that are no files"
    if os.path.islink(path) and not _is_below(root, path):
        return "links out of the folder"
    return None if os.access(path, os.R_OK) else "closed to Apache's user"


def _is_below(root: str, path: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(root).rstrip("/") + "/")
