"""Status lines and the pages for statuses that handlers return."""

from functools import lru_cache
from html import escape
from http import HTTPStatus

PAGE_TYPE = "text/html; charset=iso-8859-1"

# Apache's words, where those of some Python version differ
_APACHES = {
    203: "Non-Authoritative Information",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Requested Range Not Satisfiable",
    418: "I'm A Teapot",
    422: "Unprocessable Entity",
    506: "Variant Also Negotiates",
    510: "Not Extended",
}
PHRASES = {int(status): status.phrase for status in HTTPStatus if status >= 200} | _APACHES
STATUS_LINES = {status: f"{status} {phrase}" for status, phrase in PHRASES.items()}
WITHOUT_BODY = frozenset((204, 304))

_SENTENCES = {
    400: "The server could not understand this request.",
    401: "This page needs a valid user name and password.",
    403: "You are not allowed to see this page.",
    404: "There is nothing at this address.",
    405: "This address does not take requests of this method.",
    410: "What was at this address is gone for good.",
    411: "This request needs a Content-Length.",
    412: "A condition that the request made does not hold.",
    413: "The body of this request is too large.",
    414: "The address of this request is too long.",
    415: "The body of this request is of a type that is not supported.",
    416: "The range asked for does not exist.",
    500: "The server failed to answer this request; its error log says why.",
    501: "The server does not support this request.",
    502: "The server behind this one gave no valid answer.",
    503: "This page cannot be served for the moment. Please try again later.",
    504: "The server behind this one gave no answer in time.",
}


@lru_cache(maxsize=256)
def page(status: int) -> bytes:
    """Return the HTML page for *status*, which must be a key of ``PHRASES``."""
    return _html(status, escape(_SENTENCES.get(status, PHRASES[status] + ".")))


def redirect_page(status: int, location: str) -> bytes:
    """Return the HTML page that links to *location*."""
    link = escape(location)
    return _html(status, f'The document is <a href="{link}">here</a>.')


def _html(status: int, sentence: str) -> bytes:
    phrase = escape(PHRASES[status])
    text = (
        f"<!DOCTYPE html>\n<html><head><title>{status} {phrase}</title></head><body>\n"
        f"<h1>{phrase}</h1>\n<p>{sentence}</p>\n</body></html>\n"
    )
    return text.encode("latin-1", "xmlcharrefreplace")
