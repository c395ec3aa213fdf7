"""The counters in the text format of Prometheus, or of OpenMetrics where that is asked for.

https://prometheus.io/docs/instrumenting/exposition_formats/ and RFC-like text of OpenMetrics 1.0.
Names and units follow Prometheus' conventions; there is no label that a visitor could multiply.
"""

import handlers
from handlers import counters, settings
from handlers.status import figures, health, processes

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_PREFIX = "modpython_handlers_"


def wants_openmetrics(accept: str) -> bool:
    """Tell whether the client's Accept header asks for OpenMetrics."""
    return any(
        part.split(";")[0].strip().lower() == "application/openmetrics-text"
        for part in accept.split(",")
    )


def text(options: settings.Settings, openmetrics: bool) -> str:
    """Return all metrics of the site with these *options*."""
    directory = options["thumbnail.cache"]
    found = counters.read(directory)
    lines: list[str] = []
    for name, meaning in counters.COUNTERS.items():
        full = f"{_PREFIX}{name}"
        family = full if openmetrics else f"{full}_total"
        _head(lines, family, "counter", meaning)
        lines.append(f"{full}_total {found[name]}")
    for name, (meaning, bounds) in counters.HISTOGRAMS.items():
        _histogram(lines, _PREFIX + name, meaning, bounds, found[name])
    cache = figures.cache(directory, options)
    gauges = {
        "cache_bytes": (
            "Bytes in the cache at the end of the keeper's last round.",
            cache["bytes"],
        ),
        "cache_files": ("Thumbnails in the cache at that time.", cache["files"]),
        "cache_free_bytes": ("Bytes free on the cache's file system.", cache["free"]),
        "cache_limit_bytes": ("The option cache.bytes.", cache["limit"]),
        "children": (
            "Processes that have answered requests of this site.",
            len(counters.processes(directory)),
        ),
        **_of_makers(processes.makers(directory, options)),
        **_of_sessions(figures.sessions(directory, options)),
    }
    for name, (meaning, value) in gauges.items():
        if value is None:
            continue
        _head(lines, _PREFIX + name, "gauge", meaning)
        lines.append(f"{_PREFIX}{name} {value}")
    _head(
        lines, _PREFIX + "healthy", "gauge", "1 for each part that is well, 0 for one that is not."
    )
    for check in health.checks(options):
        lines.append(f'{_PREFIX}healthy{{part="{check.name}"}} {int(check.is_well)}')
    if openmetrics:
        _head(lines, _PREFIX + "build", "info", "The version of the package.")
        lines.append(f'{_PREFIX}build_info{{version="{handlers.__version__}"}} 1')
        lines.append("# EOF")
    else:
        _head(lines, _PREFIX + "build_info", "gauge", "The version of the package.")
        lines.append(f'{_PREFIX}build_info{{version="{handlers.__version__}"}} 1')
    return "\n".join(lines) + "\n"


def _of_makers(makers: dict) -> dict[str, tuple[str, float]]:
    alive = makers["alive"]
    return {
        "makers": ("Processes that make thumbnails.", len(alive)),
        "makers_busy": ("Those of them that are at a thumbnail.", sum(m["busy"] for m in alive)),
        "makers_limit": ("How many there may be, thumbnail.makers.", makers["most"]),
        "makers_memory_bytes": ("What is their own.", sum(m["memory"] for m in alive)),
    }


def _of_sessions(sessions: dict) -> dict[str, tuple[str, float | None]]:
    has_swept = sessions["swept"] is not None
    return {
        "sessions_live": ("Sessions that lived when they were last counted.", sessions["live"]),
        "sessions_sweep_timestamp_seconds": ("When the last sweep ended.", sessions["swept"]),
        "sessions_sweep_duration_seconds": (
            "How long it took.",
            sessions["sweep_seconds"] if has_swept else None,
        ),
        "sessions_sweep_deleted": (
            "Sessions that it deleted.",
            sessions["sweep_deleted"] if has_swept else None,
        ),
    }


def _head(lines: list[str], name: str, kind: str, meaning: str) -> None:
    lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _histogram(lines, name, meaning, bounds, found) -> None:
    buckets, total = found
    _head(lines, name, "histogram", meaning)
    seen = 0
    for bound, count in zip((*map(_number, bounds), "+Inf"), buckets, strict=True):
        seen += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {seen}')
    lines += [f"{name}_sum {total!r}", f"{name}_count {seen}"]


def _number(bound: float) -> str:
    return repr(float(bound))
