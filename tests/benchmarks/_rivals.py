"""Other makers of thumbnails, for the benchmark ``cold``: each is there if it is installed.

A rival is a function of a source's path and a case, which returns the seconds of CPU time that it
took. Quality is 80 everywhere, but where a package's own default is part of what its users do.
"""

import contextlib
import importlib.util
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

_QUALITY = 80
_SHARP = """
const sharp = require('sharp');
sharp.concurrency(1);
sharp.cache(false);
require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const job = JSON.parse(line);
  const start = process.cpuUsage();
  await sharp(job.path)
    .rotate()
    .resize({ width: job.width, height: job.height, fit: job.fit, withoutEnlargement: true })
    .jpeg({ quality: 80 })
    .toBuffer();
  const used = process.cpuUsage(start);
  console.log((used.user + used.system) / 1e6);
});
"""


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def timed(function):
    """Make a rival of *function*, which does its work in this process or in ended children."""

    def rival(path, case):
        start = cpu_seconds()
        function(path, case)
        return cpu_seconds() - start

    return rival


@contextlib.contextmanager
def installed():
    """Yield the rivals that are installed, ``{name: rival}``, and the names of the others."""
    rivals = {
        "plain": timed(plain),
        "thumbnail": timed(thumbnail),
        "as sorl-thumbnail": timed(as_sorl),
        "as easy-thumbnails": timed(as_easy_thumbnails),
    }
    missing = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        if importlib.util.find_spec("pyvips"):
            # read when libvips is loaded
            os.environ["VIPS_CONCURRENCY"] = "1"
            rivals["pyvips"] = timed(_pyvips)
        else:
            missing.append("pyvips (pip install pyvips pyvips-binary)")
        for name, make, package in (
            ("vipsthumbnail", _vipsthumbnail, "libvips-tools"),
            ("convert", _convert, "imagemagick"),
        ):
            if shutil.which(name):
                rivals[name] = timed(lambda path, case, make=make: make(path, case, directory))
            else:
                missing.append(f"{name} (apt install {package})")
        sharp = stack.enter_context(_sharp())
        if sharp:
            rivals["sharp"] = sharp
        else:
            missing.append("sharp (npm install sharp, and NODE_PATH)")
        yield rivals, missing


def plain(path, case):
    """Open and resize: what most sites do."""
    with Image.open(path) as picture:
        if case.geometry.crop:
            box = _cover(picture.size, case.geometry)
            size = case.geometry[:2]
            _save(picture.resize(size, Image.Resampling.LANCZOS, box))
        else:
            _save(picture.resize(case.size, Image.Resampling.LANCZOS))


def thumbnail(path, case):
    """Use Image.thumbnail, and ImageOps.fit after it for a crop."""
    with Image.open(path) as picture:
        if case.geometry.crop:
            scale = max(case.geometry.width / picture.width, case.geometry.height / picture.height)
            picture.thumbnail([round(side * scale) for side in picture.size])
            _save(ImageOps.fit(picture, case.geometry[:2], Image.Resampling.LANCZOS))
        else:
            picture.thumbnail(case.geometry[:2])
            _save(picture)


def as_sorl(path, case):
    """Do what sorl-thumbnail 13 does: transpose, convert, resize, crop, quality 95, progressive."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
        _save(_resized_then_cropped(upright, case), quality=95, progressive=True, optimize=1)


def as_easy_thumbnails(path, case):
    """Do what easy-thumbnails 2 does: transpose, resize, crop, quality 85."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        _save(_resized_then_cropped(upright, case), quality=85)


def _resized_then_cropped(picture, case):
    if not case.geometry.crop:
        return picture.resize(case.size, Image.Resampling.LANCZOS)
    width, height = case.geometry[:2]
    scale = max(width / picture.width, height / picture.height)
    whole = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    left, upper = (whole.width - width) // 2, (whole.height - height) // 2
    return whole.crop((left, upper, left + width, upper + height))


def _pyvips(path, case):
    import pyvips

    pyvips.cache_set_max(0)
    options = {"crop": "centre"} if case.geometry.crop else {"size": "down"}
    picture = pyvips.Image.thumbnail(
        str(path), case.geometry.width, height=case.geometry.height, **options
    )
    picture.write_to_buffer(".jpg", Q=_QUALITY)


def _vipsthumbnail(path, case, directory):
    size = f"{case.geometry.width}x{case.geometry.height}"
    crop = ["--smartcrop", "centre"] if case.geometry.crop else []
    _run(
        ["vipsthumbnail", path, "-s", size, *crop, "-o", f"{directory}/out.jpg[Q={_QUALITY}]"],
        VIPS_CONCURRENCY="1",
    )


def _convert(path, case, directory):
    width, height = case.geometry[:2]
    hint = f"jpeg:size={width * 2}x{height * 2}"
    if case.geometry.crop:
        how = ["-thumbnail", f"{width}x{height}^", "-gravity", "center", "-extent"]
        how.append(f"{width}x{height}")
    else:
        how = ["-thumbnail", f"{width}x{height}>"]
    command = ["convert", "-define", hint, path, "-auto-orient", *how]
    _run([*command, "-quality", str(_QUALITY), f"{directory}/out.jpg"], MAGICK_THREAD_LIMIT="1")


def _run(command, **environment):
    subprocess.run(command, check=True, env=os.environ | environment, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _sharp():
    """Yield sharp in a node process that stays, or None; it tells its own CPU time."""
    node = shutil.which("node")
    probe = [node, "-e", "require('sharp')"]
    if not node or subprocess.run(probe, stderr=subprocess.DEVNULL).returncode:
        yield None
        return
    with subprocess.Popen(
        [node, "-e", _SHARP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def rival(path, case):
            job = {
                "path": str(path),
                "width": case.geometry.width,
                "height": case.geometry.height,
                "fit": "cover" if case.geometry.crop else "inside",
            }
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        try:
            yield rival
        finally:
            process.stdin.close()


def floor(path: Path, case) -> None:
    """Decode at an eighth, the least that any maker of thumbnails has to do, and no more."""
    with Image.open(path) as picture:
        picture.draft(None, (picture.width // 8, picture.height // 8))
        picture.load()


def _cover(size, geometry):
    scale = max(geometry.width / size[0], geometry.height / size[1])
    width, height = geometry.width / scale, geometry.height / scale
    left, upper = (size[0] - width) / 2, (size[1] - height) / 2
    return left, upper, left + width, upper + height


def _save(picture, **options):
    picture.save(io.BytesIO(), "JPEG", **{"quality": _QUALITY} | options)
