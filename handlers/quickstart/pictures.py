"""The pictures to serve: those of a folder, or samples of our own making."""

import hashlib
import math
import os
import random
import re

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from handlers.quickstart.work import Failed

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_SAMPLES = 72
_PRIVATE_SAMPLES = 4
_SAMPLE_SIZE = (1600, 1200)


def find(root: str) -> dict[str, str]:
    """Return ``{id: path relative to root}`` of the pictures below *root*, in order of their paths.

    The id is the path without its suffix, in the characters that an id may have; where two pictures
    would get the same one, a hash of the path makes them different.
    """
    paths = []
    for directory, folders, files in os.walk(root):
        folders.sort()
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), root)
            if name.lower().endswith(_SUFFIXES) and _is_text(path):
                paths.append(path)
    found: dict[str, str] = {}
    for path in sorted(paths):
        id = re.sub(r"[^A-Za-z0-9_-]+", "-", os.path.splitext(path)[0])[:100] or "picture"
        if id in found:
            id += "-" + hashlib.sha256(path.encode()).hexdigest()[:12]
        found[id] = path
    return found


def is_private(path: str) -> bool:
    """Tell whether a picture is for those who sign in: it lies in a folder named ``private``."""
    return "private" in path.split("/")[:-1]


def check_readable(root: str, user) -> None:
    """Make sure that Apache's *user* (a passwd entry; None: the caller) can read the folder.

    :raises Failed: if not.
    """
    if not os.path.isdir(root):
        raise Failed(f"{root} is not a folder")
    if user is None:
        if not os.access(root, os.R_OK | os.X_OK):
            raise Failed(f"the folder {root} cannot be read")
        return
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.listdir(root)
            status = 0
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise Failed(f"Apache's user {user.pw_name} cannot read the folder {root}")


def make_samples(root: str) -> None:
    """Fill the folder *root* with sample pictures, those it does not have yet."""
    os.makedirs(os.path.join(root, "private"), exist_ok=True)
    grain = Image.effect_noise(_SAMPLE_SIZE, 24)
    for number in range(_SAMPLES):
        folder = "private/" if number >= _SAMPLES - _PRIVATE_SAMPLES else ""
        path = os.path.join(root, f"{folder}sample-{number + 1:02d}.jpg")
        if not os.path.exists(path):
            _landscape(number, grain).save(path + ".new", "JPEG", quality=88)
            os.replace(path + ".new", path)


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
    picture = picture.filter(ImageFilter.GaussianBlur(1))
    return ImageChops.overlay(picture, Image.merge("RGB", (grain,) * 3))


def _lighter(value: int) -> int:
    return 150 + value * 105 // 255


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
