"""How a question is answered in text, so that two servers' answers can be compared."""

from mod_python import apache


def write_answer(req, ask):
    """Write the repr of what *ask* returns, or the class of what it raises."""
    try:
        answer = repr(ask())
    except Exception as error:
        answer = f"raises {type(error).__name__}"
    req.content_type = "text/plain; charset=utf-8"
    req.write(answer)
    return apache.OK
