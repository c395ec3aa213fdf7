"""The status page: one document, without scripts, light or dark as the reader has it."""

import base64
import hashlib
import html
import pathlib
import time
from typing import Any

_STYLE = pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
)

_NAMES = {
    "thumbnails_made": "made",
    "thumbnails_waited": "waited for another request that made it",
    "thumbnails_turned_away": "turned away",
    "thumbnails_failed": "failed",
}
_OF_SESSIONS = {"begun": "new", "ended": "ended by their owner", "expired": "expired and swept"}
_WIDTH, _HEIGHT, _MARGIN = 600, 140, 4
_MOST_SIZES = 8


def render(found: dict[str, Any], refreshes: bool = False) -> str:
    """Return the page that shows the figures *found*, see :func:`.figures.gather`.

    :param refreshes: whether the reader has asked for a page that the browser reloads by itself.
    """
    verdict = _verdict(found["health"])
    again = '<a href="?refresh=60">refresh every minute</a>'
    if refreshes:
        again = '<a href="?">stop refreshing</a>'
    parts = [
        _health(found["health"]),
        _thumbnails(found),
        _cache(found["cache"]),
        _lookup(found["lookup"], found["totals"]),
        _sessions(found),
        _makers(found["makers"]),
        _children(found["children"]),
        _notices(found["notices"]),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{verdict} - modpython-handlers</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{verdict}</h1>
<p>The site with {_settings(found)}.
modpython-handlers {found["version"]}, {_moment(found["time"])}.
<a href="?format=json">The same as JSON</a>, {again}</p>
</header>
<main>
{"".join(parts)}
</main>
</body>
</html>
"""


def _settings(found: dict[str, Any]) -> str:
    # two sites may have settings files of one name, and caches never
    text = f"the cache {found['cache']['directory']}"
    if found["settings"]:
        text = f"{found['settings']} and {text}"
    return html.escape(text)


def _verdict(checks: dict[str, dict]) -> str:
    unwell = sum(not check["is_well"] for check in checks.values())
    if unwell:
        return f"{unwell} of {len(checks)} unwell"
    return "Worth a look" if any(c["advice"] for c in checks.values()) else "All is well"


def _health(checks: dict[str, dict]) -> str:
    rows = []
    for name, check in checks.items():
        state = "unwell" if not check["is_well"] else "look" if check["advice"] else "well"
        text = html.escape(check["advice"] or "well")
        rows.append(f'<li class="{state}"><b>{html.escape(name)}</b> {text}</li>')
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
        ("made ahead, of what was decoded for another size", totals["thumbnails_ahead"]),
        ("found made, as another one had just made it", totals["thumbnails_found"]),
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
        + _graph("Thumbnails per minute, last hour", found["hour"], _NAMES)
        + _graph("Thumbnails per minute, last day", found["day"], _NAMES)
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
    free = "unknown room" if cache["free"] is None else _bytes(cache["free"])
    sizes = [(size, _bytes(count)) for size, count in list(cache["by_size"].items())[:_MOST_SIZES]]
    return (
        f"<section><h2>Cache</h2><p>{cache['files']:,} files, {_bytes(cache['bytes'])}, "
        f"{limit}; {free} free on the disk; {counted}.</p>"
        f"<p><code>{html.escape(cache['directory'])}</code>, sizes "
        f"{html.escape(' '.join(cache['sizes'])) or 'none'}</p>"
        + _bar(cache["bytes"], cache["limit"])
        + _table(("age", "bytes"), rows)
        + (_table(("largest sizes", "bytes"), sizes) if sizes else "")
        + "</section>\n"
    )


def _bar(used: float, limit: float | None) -> str:
    """Return a picture of *used* bytes of *limit*, nothing without a limit."""
    if not limit:
        return ""
    share = min(1.0, used / limit)
    return (
        f'<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{share:.0%} of the allowed bytes are used">'
        f'<rect width="{100 * share:.1f}" height="1"/></svg>\n'
    )


def _lookup(stats: dict[str, Any] | None, totals: dict[str, Any]) -> str:
    if stats is None:
        return ""
    if "error" in stats:
        return f"<section><h2>Lookup</h2><p>{html.escape(stats['error'])}</p></section>\n"
    state = "here, and never away" if stats["back"] is None else f"back {_moment(stats['back'])}"
    if stats["away"]:
        state = f"away since {_moment(stats['away_since'])}" if stats["away_since"] else "away"
    rows = [
        ("database", stats["database"]),
        ("the database is", state),
        ("snapshot", stats["snapshot"] or "none"),
        ("age of the snapshot", _duration(stats.get("snapshot_age"))),
        ("rows in this child's memory", f"{stats['rows']:,}"),
    ]
    asked = [
        ("answered with a row", totals["lookup_found"]),
        ("answered with none", totals["lookup_missing"]),
        ("not put to it, as one child had asked too many", totals["lookup_not_asked"]),
        ("not answered, as it was away", totals["lookup_unavailable"]),
    ]
    return (
        "<section><h2>Lookup</h2>"
        + _table(("lookup", "value"), rows)
        + _table(("questions to the database since the first start", "number"), asked)
        + "</section>\n"
    )


def _sessions(found: dict[str, Any]) -> str:
    sessions = found["sessions"]
    rows = [("store", sessions["store"])]
    if sessions["live"] is not None:
        rows.append((f"live, counted {_moment(sessions['counted'])}", f"{sessions['live']:,}"))
    elif sessions.get("is_swept"):
        rows.append(("live", "not counted yet: the sweep does it"))
    else:
        rows.append(("live", "known to nobody: each server or child has its own"))
    for name, text in _OF_SESSIONS.items():
        rows.append((f"{text}, in the last hour", f"{sum(sessions[name]):,}"))
    if sessions["swept"] is not None:
        swept = f"{_moment(sessions['swept'])}, {sessions['sweep_deleted']:,} deleted"
        rows.append(("last sweep", f"{swept} in {sessions['sweep_seconds']:.1f} s"))
    return (
        "<section><h2>Sessions</h2>"
        + _graph("Sessions per minute, last hour", sessions, _OF_SESSIONS)
        + _table(("sessions", "value"), rows)
        + "</section>\n"
    )


def _makers(makers: dict[str, Any]) -> str:
    alive = makers["alive"]
    busy = sum(maker["busy"] for maker in alive)
    rows = [
        (
            maker["pid"],
            _duration(maker["age"]),
            f"{maker['jobs']:,}",
            "busy" if maker["busy"] else "idle",
            _bytes(maker["memory"]),
        )
        for maker in alive
    ]
    head = ("pid", "age", "jobs", "state", "own memory")
    return (
        f"<section><h2>Makers</h2><p>{len(alive)} of {makers['most']} processes that make "
        f"thumbnails are there, {busy} of them busy. An idle one goes after ten seconds. They work "
        f"with {', '.join(makers['libraries'])}.</p>"
        + (_table(head, rows, "makers") if rows else "")
        + "</section>\n"
    )


def _children(children: list[dict]) -> str:
    rows = [
        (child["pid"], _duration(child["age"]), f"{child['requests']:,}", _bytes(child["memory"]))
        for child in children
    ]
    head = ("pid", "age", "requests", "own memory")
    return (
        "<section><h2>Children</h2><p>Those that have answered requests of this site, and how many "
        "of them. Their memory serves all sites of the server.</p>"
        + _table(head, rows, "children")
        + "</section>\n"
    )


def _notices(notices: list[dict]) -> str:
    if not notices:
        return "<section><h2>Warnings</h2><p>None.</p></section>\n"
    rows = [(_moment(notice["at"]), notice["level"], notice["text"]) for notice in notices]
    head = ("when", "level", "what happened, and what to do")
    return "<section><h2>Warnings</h2>" + _table(head, rows, "warnings") + "</section>\n"


def _table(head: tuple, rows: list[tuple], label: str = "") -> str:
    """Return a table; on a narrow screen it is scrolled, by keys as well.

    :param label: what it is called, by default as its first column.
    """

    def cells(tag, row):
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    name = html.escape(label or head[0])
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{name}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _graph(title: str, series: dict[str, list[float]], names: dict[str, str]) -> str:
    """Return the lines of *series*, those that *names* has, with their names below."""
    shown = {name: series[name] for name in names}
    most = max((value for values in shown.values() for value in values), default=0)
    lines, legend = [], []
    for number, (name, values) in enumerate(shown.items()):
        step, height = _WIDTH / max(1, len(values) - 1), _HEIGHT - 2 * _MARGIN
        points = " ".join(
            f"{place * step:.1f},{_MARGIN + height * (1 - value / (most or 1)):.1f}"
            for place, value in enumerate(values)
        )
        if any(values):
            lines.append(f'<polyline class="line{number}" points="{points}"/>')
        legend.append(f'<li class="line{number}">{names[name]}</li>')
    top = f"up to {most:,.0f}" if most >= 10 or most == int(most) else f"up to {most:.1f}"
    return (
        f"<figure><figcaption>{title}, {top if most else 'none'}</figcaption>"
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
