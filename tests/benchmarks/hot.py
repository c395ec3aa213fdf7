"""A cached thumbnail against a static file of the same bytes outside the drop-in, same Apache."""

import pathlib
import shutil
import statistics
import tempfile

from PIL import Image

from tests.benchmarks._load import ratio, request_rate, rounds, row
from tests.servers.httpd import Httpd, make_images_table

BAR = 0.95


def run(args):
    """Return the rows of the benchmark."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="handlers-bench-"))
    base.chmod(0o755)
    try:
        return _run(base, args.rounds)
    finally:
        shutil.rmtree(base)


def _run(base, count):
    (base / "pictures").mkdir()
    Image.effect_noise((800, 600), 40).convert("RGB").save(base / "pictures" / "a.jpg")
    url = make_images_table(base / "images.db", {"a": "a.jpg"})
    with Httpd(base / "site", "mod_wsgi", url, base / "pictures") as site:
        thumbnail = site.request("/thumbs/200x200/a.jpg").body
        pathlib.Path(site.work.documents, "plain.jpg").write_bytes(thumbnail)
        rates = rounds(
            count,
            {
                name: lambda path=path: request_rate(site.port, path).per_second
                for name, path in (
                    ("thumbnail", "/thumbs/200x200/a.jpg"),
                    ("static file", "/plain.jpg"),
                )
            },
        )
    against = ratio(rates["thumbnail"], rates["static file"])
    return [
        row("hot", "static file", statistics.median(rates["static file"]), "requests/s"),
        row(
            "hot",
            f"cached thumbnail, {len(thumbnail)} bytes",
            statistics.median(rates["thumbnail"]),
            "requests/s",
            "static file",
            against,
            f">= {BAR}",
            against >= BAR,
        ),
    ]
