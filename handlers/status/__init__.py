"""What an admin sees: a status page, metrics and a health check.

::

    PythonHandler handlers.status            a page; with ?format=json the same as JSON
    PythonHandler handlers.status::metrics   Prometheus' text format, or OpenMetrics if asked for
    PythonHandler handlers.status::health    200 or 503, and one line of JSON

The drop-in has them behind ``Define HANDLERS_STATUS``, for this machine only (``Require local``).
They read files that the children keep, and query nothing.
"""

import json
from urllib.parse import parse_qs

from mod_python import apache

from handlers import sending, settings
from handlers.runtime import guarded
from handlers.status import exposition, figures, page
from handlers.status import health as wellness

_JSON = "application/json"


@sending.get_only
def handler(req) -> int:
    """Answer with the status page, or with its figures as JSON for ``?format=json``.

    With ``?refresh=N`` the browser reloads the page every N seconds, as that of mod_status.
    """
    options = settings.of(req)
    settings.required(options, "thumbnail.cache")
    found = figures.gather(options)
    asked = parse_qs(guarded.text(req, "args") or "")
    if asked.get("format", ["html"])[-1] == "json":
        return _sent(req, json.dumps(_finite(found)), _JSON)
    seconds = asked.get("refresh", [""])[-1]
    refreshes = seconds.isascii() and seconds.isdigit() and int(seconds[:6]) > 0
    if refreshes:
        req.headers_out["Refresh"] = seconds[:6]
    req.headers_out["Content-Security-Policy"] = page.POLICY
    return _sent(req, page.render(found, refreshes), "text/html; charset=utf-8")


@sending.get_only
def metrics(req) -> int:
    """Answer with the counters for Prometheus."""
    options = settings.of(req)
    settings.required(options, "thumbnail.cache")
    is_open = exposition.wants_openmetrics(guarded.header(req, "Accept", "") or "")
    content_type = exposition.OPENMETRICS if is_open else exposition.PROMETHEUS
    return _sent(req, exposition.text(options, is_open), content_type)


@sending.get_only
def health(req) -> int:
    """Answer 200 if all is well, else 503, with one line that says which part is not."""
    checks = wellness.checks(settings.of(req))
    is_well = all(check.is_well for check in checks)
    req.status = apache.HTTP_OK if is_well else apache.HTTP_SERVICE_UNAVAILABLE
    parts = {check.name: check.advice or "well" for check in checks}
    return _sent(
        req, json.dumps({"status": "well" if is_well else "unwell", **parts}) + "\n", _JSON
    )


def _sent(req, text: str, content_type: str) -> int:
    body = text.encode()
    req.content_type = content_type
    req.headers_out["Cache-Control"] = "no-store"
    req.headers_out["X-Content-Type-Options"] = "nosniff"
    req.set_content_length(len(body))
    if not req.header_only:
        req.write(body, 0)
    return apache.OK


def _finite(found):
    """Return *found* with null for what JSON has no number for."""
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return None if found in (float("inf"), float("-inf")) else found
