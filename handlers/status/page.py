"""The status page: one document, without scripts, light or dark as the reader has it."""

import base64
import hashlib
import html
import pathlib
import time
from typing import Any

from handlers.status import figures

_STYLE = pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
)

_NAMES = {
    "thumbnails_made": "made",
    "thumbnails_found": "found made",
    "thumbnails_turned_away": "turned away",
    "thumbnails_failed": "failed",
}
_WIDTH, _HEIGHT, _MARGIN = 600, 140, 4


def render(found: dict[str, Any]) -> str:
    """Return the page that shows the figures *found*, see :func:`.figures.gather`."""
    unwell = [check for check in found["health"].values() if not check["is_well"]]
    verdict = "All is well" if not unwell else f"{len(unwell)} of {len(found['health'])} unwell"
    parts = [
        _health(found["health"]),
        _thumbnails(found),
        _cache(found["cache"]),
        _lookup(found["lookup"]),
        _sessions(found),
        _children(found["children"]),
        _notices(found["notices"]),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="60">
<title>{verdict} - modpython-handlers</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{verdict}</h1>
<p>modpython-handlers {found["version"]}, {_moment(found["time"])}.
<a href="?format=json">The same as JSON</a></p>
</header>
<main>
{"".join(parts)}
</main>
</body>
</html>
"""


def _health(checks: dict[str, dict]) -> str:
    rows = [
        f'<li class="{"well" if check["is_well"] else "unwell"}"><b>{html.escape(name)}</b> '
        f"{'well' if check['is_well'] else html.escape(check['advice'])}</li>"
        for name, check in checks.items()
    ]
    return f'<section><h2>Health</h2><ul class="checks">{"".join(rows)}</ul></section>\n'


def _thumbnails(found: dict[str, Any]) -> str:
    making = found["making"]
    totals = found["totals"]
    times = "None was made in the last hour."
    if making["median"] is not None:
        times = (
            f"Half of those made in the last hour took up to {_seconds(making['median'])}, "
            f"99 of 100 up to {_seconds(making['p99'])}."
        )
    rows = [(name, totals[series]) for series, name in _NAMES.items()]
    rows += [
        ("any request answered 503", totals["requests_unavailable"]),
        ("any request answered 500 for a wrong option", totals["requests_misconfigured"]),
        ("refused", totals["thumbnails_refused"]),
        (
            "kept waiting by the cache, the pictures or the database",
            totals["thumbnails_unavailable"],
        ),
    ]
    return (
        "<section><h2>Thumbnails</h2>\n"
        f"<p>{times} Apache itself counts what it serves from the cache.</p>"
        + _graph("Per minute, last hour", found["hour"])
        + _graph("Per minute, last day", found["day"])
        + _table(("since the first start", "requests"), rows)
        + "</section>\n"
    )


def _cache(cache: dict[str, Any]) -> str:
    limit = "no limit" if cache["limit"] is None else f"of {_bytes(cache['limit'])} allowed"
    counted = (
        "not counted yet" if cache["counted"] is None else f"counted {_moment(cache['counted'])}"
    )
    rows = [
        (f"used within {age}" if age != "longer" else "not used for longer", _bytes(size))
        for age, size in cache["used_within"].items()
    ]
    return (
        f"<section><h2>Cache</h2><p>{cache['files']:,} thumbnails, {_bytes(cache['bytes'])}, "
        f"{limit}; {_bytes(cache['free'])} free on the disk; {counted}.</p>"
        f"<p><code>{html.escape(cache['directory'])}</code>, sizes "
        f"{html.escape(' '.join(cache['sizes'])) or 'none'}</p>"
        + _table(("age", "bytes"), rows)
        + "</section>\n"
    )


def _lookup(stats: dict[str, Any] | None) -> str:
    if stats is None:
        return ""
    if "error" in stats:
        return f"<section><h2>Lookup</h2><p>{html.escape(stats['error'])}</p></section>\n"
    state = "away" if stats["away"] else "back, or never away"
    rows = [
        ("database", stats["database"]),
        ("the database is", state),
        ("snapshot", stats["snapshot"] or "none"),
        ("age of the snapshot", _duration(stats.get("snapshot_age"))),
        ("rows in this child's memory", f"{stats['rows']:,}"),
        ("questions that the database answered with a row", f"{stats['found']:,}"),
        ("with none", f"{stats['not_found']:,}"),
        ("not put to it", f"{stats['not_asked']:,}"),
        ("that it could not answer", f"{stats['unavailable']:,}"),
    ]
    return "<section><h2>Lookup</h2>" + _table(("of this child", ""), rows) + "</section>\n"


def _sessions(found: dict[str, Any]) -> str:
    begun, ended = sum(found["sessions"]["begun"]), sum(found["sessions"]["ended"])
    rows = [
        ("begun in the last hour", f"{begun:,}"),
        ("ended by their owner in the last hour", f"{ended:,}"),
    ]
    return "<section><h2>Sessions</h2>" + _table(("sessions", ""), rows) + "</section>\n"


def _children(children: list[dict]) -> str:
    rows = [
        (child["pid"], _duration(child["age"]), f"{child['requests']:,}", _bytes(child["memory"]))
        for child in children
    ]
    head = ("pid", "age", "requests", "own memory")
    return "<section><h2>Children</h2>" + _table(head, rows) + "</section>\n"


def _notices(notices: list[dict]) -> str:
    if not notices:
        return "<section><h2>Warnings</h2><p>None.</p></section>\n"
    rows = [(_moment(notice["at"]), notice["level"], notice["text"]) for notice in notices]
    head = ("when", "level", "what happened, and what to do")
    return "<section><h2>Warnings</h2>" + _table(head, rows) + "</section>\n"


def _table(head: tuple, rows: list[tuple]) -> str:
    def cells(tag, row):
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(head[0])}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _graph(title: str, series: dict[str, list[float]]) -> str:
    most = max((value for values in series.values() for value in values), default=0) or 1
    lines, legend = [], []
    for number, name in enumerate(figures.SERIES):
        values = series[name]
        step = _WIDTH / max(1, len(values) - 1)
        points = " ".join(
            f"{place * step:.1f},{_MARGIN + (_HEIGHT - 2 * _MARGIN) * (1 - value / most):.1f}"
            for place, value in enumerate(values)
        )
        lines.append(f'<polyline class="line{number}" points="{points}"/>')
        legend.append(f'<li class="line{number}">{_NAMES[name]}</li>')
    return (
        f"<figure><figcaption>{title}, up to {most:,.0f}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{title}">{"".join(lines)}</svg>'
        f'<ul class="legend">{"".join(legend)}</ul></figure>\n'
    )


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _seconds(value: float) -> str:
    return "more than 10 s" if value == float("inf") else f"{value * 1000:.0f} ms"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
