"""A cached thumbnail against a static file of the same bytes outside the drop-in, same Apache."""

import pathlib
import statistics

from PIL import Image

from tests.benchmarks._load import ratio, request_rate, rounds, row, workplace
from tests.servers.httpd import Httpd, make_images_table

BAR = 0.95
_CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def add_arguments(parser):
    """Add what only this benchmark takes."""
    parser.add_argument(
        "--files", type=int, default=0, help="so many other thumbnails in the same directory"
    )


def run(args):
    """Return the rows of the benchmark."""
    with workplace() as base:
        return _run(base, args.rounds, args.files)


def _run(base, count, files):
    (base / "pictures").mkdir()
    Image.effect_noise((800, 600), 40).convert("RGB").save(base / "pictures" / "a.jpg")
    url = make_images_table(base / "images.db", {"a": "a.jpg"})
    with Httpd(base / "site", "mod_wsgi", url, base / "pictures") as site:
        thumbnail = site.request("/thumbs/200x200/a.jpg").body
        negotiated = site.request("/thumbs/200x200/a", headers={"Accept": _CHROME}).body
        pathlib.Path(site.work.documents, "plain.jpg").write_bytes(thumbnail)
        pathlib.Path(site.work.documents, "plain.avif").write_bytes(negotiated)
        _fill(pathlib.Path(site.work.cache, "thumbs", "200x200"), files)
        accept = f'wrk.headers["Accept"] = "{_CHROME}"'
        rates = rounds(
            count,
            {
                name: lambda path=path, script=script: (
                    request_rate(site.port, path, script=script).per_second
                )
                for name, path, script in (
                    ("thumbnail", "/thumbs/200x200/a.jpg", None),
                    ("static", "/plain.jpg", None),
                    ("negotiated", "/thumbs/200x200/a", accept),
                    ("static avif", "/plain.avif", accept),
                )
            },
        )
    among = f", among {files} others" if files else ""
    return [
        row("hot", "static file", statistics.median(rates["static"]), "requests/s"),
        _row(f"cached thumbnail, {len(thumbnail)} bytes{among}", rates, "thumbnail", "static"),
        row("hot", "static AVIF file", statistics.median(rates["static avif"]), "requests/s"),
        _row(
            f"the same by Accept, {len(negotiated)} bytes{among}",
            rates,
            "negotiated",
            "static avif",
        ),
    ]


def _row(case, rates, name, rival):
    against = ratio(rates[name], rates[rival])
    value = statistics.median(rates[name])
    return row(
        "hot", case, value, "requests/s", "static file", against, f">= {BAR}", against >= BAR
    )


def _fill(directory, files):
    """Make thumbnails of some bytes, so that the directory is as long as that of a large site."""
    for number in range(files):
        # of no extension that the sweep would compare with a row
        (directory / f"{number}.other").write_bytes(b"x")
