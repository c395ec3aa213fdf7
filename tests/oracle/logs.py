"""The error log, and cleanups, whose effect the log shows."""

from mod_python import apache


def levels(req):
    """Log a line at each level, in each of the ways."""
    for name in ("EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"):
        level = getattr(apache, f"APLOG_{name}")
        req.log_error(f"req {name} {req.args}", level)
        apache.log_error(f"apache {name} {req.args}", apache.APLOG_NOERRNO | level)
    req.log_error(f"req default {req.args}")
    apache.log_error(f"apache default {req.args}")
    req.server.log_error(f"server default {req.args}", apache.APLOG_ERR)
    req.connection.log_error(f"connection default {req.args}", apache.APLOG_ERR)
    return apache.OK


def awkward(req):
    """Log text that a log may garble."""
    req.log_error(f"percent %s %d {req.args}", apache.APLOG_INFO)
    req.log_error(f"Grüße {req.args}", apache.APLOG_INFO)
    return apache.OK


def cleanups(req):
    """Register two cleanups and a failing one, then answer as the query says."""
    req.register_cleanup(_log, "first")
    req.register_cleanup(_log, "second")
    if req.args == "fault":
        raise ValueError("a fault of the oracle")
    if req.args == "404":
        return apache.HTTP_NOT_FOUND
    req.content_type = "text/plain"
    req.write("text")
    return apache.OK


def failing_cleanup(req):
    """Register a cleanup that fails."""
    req.register_cleanup(_log, "first")
    req.register_cleanup(_fail)
    req.register_cleanup(_log, "second")
    req.write("text")
    return apache.OK


def _log(text):
    apache.log_error(f"cleanup {text}", apache.APLOG_NOTICE)


def _fail(_):
    raise ValueError("a fault of the oracle")
