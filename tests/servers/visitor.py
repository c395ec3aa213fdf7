"""A visitor of the gallery, as far as no browser is needed."""

import http.cookies
import itertools
import urllib.parse

PASSWORD = "correct horse"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

_numbers = itertools.count(1)


def next_address() -> str:
    """Return a loopback address that no test has come from, as limits go by address."""
    number = next(_numbers)
    return f"127.1.{number >> 8}.{number & 255}"


class Visitor:
    """A client that keeps its cookies.

    :param address: the loopback address that it comes from; by default one of its own.
    """

    def __init__(self, site, address=None):
        self.site = site
        self.cookies = {}
        self.address = address or next_address()

    def ask(self, path, method="GET", fields=None, **headers):
        """Send a request, with *fields* as a form; return the answer."""
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = urllib.parse.urlencode(fields) if fields is not None else None
        headers = {**_FORM, **headers} if body else headers
        answer = self.site.request(path, method, headers, body, source=self.address)
        for line in answer.headers.get_all("Set-Cookie", ()):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer

    def sign_in(self, password=PASSWORD, user="ann"):
        """Send the form to sign in."""
        return self.ask("/signin", "POST", {"user": user, "password": password})

    def mark(self, id, **fields):
        """Send the form of a star on the second page, with further or other *fields*."""
        return self.ask("/favourites", "POST", {"id": id, "back": "/?page=2", **fields})
