"""Cookies: ``from mod_python import Cookie``, with mod_python's names and signatures.

What works in another way than in mod_python under Python 3: :class:`SignedCookie` and
:class:`MarshalCookie` work at all, with HMAC-SHA256 and replaceable secrets; ``max_age`` is sent as
``max-age``, which browsers know; a flag set to false is not sent; and a cookie whose name or text
would break out of its header field is refused.
"""

import base64
import binascii
import marshal
import re
import time

from handlers import signing
from handlers.runtime import guarded

_ATTRIBUTES = (
    *("version", "path", "domain", "secure", "comment", "expires", "max_age", "samesite"),
    *("commentURL", "discard", "port", "httponly"),
)
_FLAGS = ("secure", "discard", "httponly")
_BY_LOWER_NAME = {name.lower(): name for name in _ATTRIBUTES}
# RFC 9110 section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# browsers end a value at a semicolon even inside quotes (RFC 6265 section 5.2)
_REFUSED = re.compile(r"[\x00-\x1f\x7f;]")
# a quoted value ends before a semicolon as well, or one open quote would swallow all that follows
_PAIR = re.compile(r'([^;=,\s][^;=\s]*)\s*(?:=\s*)?("[^";\\]*(?:\\[^;][^";\\]*)*"|[^;]*)')
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    rf"(?:{'|'.join(_DAYS)}), \d\d[- ](?:{'|'.join(_MONTHS)})[- ]\d{{4}} \d\d:\d\d:\d\d GMT"
)
_SIGNATURE_LENGTH = 64
_SIGNATURE = re.compile("[0-9a-f]{64}")
# RFC 9111 section 5.2.2.4
_UNCACHED = 'no-cache="set-cookie"'


class CookieError(Exception):
    """Raised for a cookie that cannot be sent, or whose signature is wrong."""


class Cookie:
    """One cookie: ``name``, ``value`` and those attributes that have been set.

    Attributes: version, path, domain, secure, comment, expires, max_age, samesite, commentURL,
    discard, port, httponly; one that has not been set is an AttributeError. ``expires`` takes
    seconds since 1970 or text like ``Thu, 01-Jan-1970 00:00:00 GMT``.
    """

    DOWNGRADE = 0
    IGNORE = 1
    EXCEPTION = 3

    _valid_attr = _ATTRIBUTES
    __slots__ = (
        *(name for name in _ATTRIBUTES if name != "expires"),
        *("name", "value", "_expires", "__data__"),
    )

    def __init__(self, name, value, **kw):
        self.name, self.value = name, value
        self.__data__ = {}
        for key, given in kw.items():
            attribute = _BY_LOWER_NAME.get(key.lower())
            if attribute is None:
                raise AttributeError(f"a cookie has no attribute {key!r}")
            setattr(self, attribute, given)

    @classmethod
    def parse(cls, str, names=None):
        """Return ``{name: Cookie}`` of a Cookie header's text, of *names* only if they are given.

        Of cookies of one name the last one counts.
        """
        return {key: cls(key, value) for key, value in _pairs(str) if names is None or key in names}

    @property
    def expires(self) -> str:
        """The time as it is sent."""
        return self._expires

    @expires.setter
    def expires(self, value):
        if not isinstance(value, str):
            value = _date(value)
        elif not _DATE.fullmatch(value):
            raise ValueError(f"not a time for expires: {value!r}")
        self._expires = value

    def __str__(self):
        """Return the text for Set-Cookie.

        :raises CookieError: if the name is no token, or any part has a control character or
            semicolon in it.
        """
        if not _TOKEN.fullmatch(str(self.name)):
            raise CookieError(f"not a cookie's name: {self.name!a}")
        parts = self._parts()
        for part in parts:
            if _REFUSED.search(part):
                raise CookieError(f"control character or semicolon in cookie {self.name}")
        return "; ".join(parts)

    def __repr__(self):
        return f"<{type(self).__name__}: {ascii('; '.join(self._parts()))[1:-1]}>"

    def _parts(self) -> list[str]:
        parts = [f"{self.name}={self._text()}"]
        for name in _ATTRIBUTES:
            value = getattr(self, name, None)
            if name in _FLAGS:
                if value:
                    parts.append(name)
            elif value is not None:
                parts.append(f"{name.replace('_', '-')}={value}")
        return parts

    def _text(self) -> str:
        return str(self.value)


class SignedCookie(Cookie):
    """A cookie whose value carries an HMAC-SHA256 over its name and value; it is not encrypted.

    A secret is str or bytes, or a list of those: the first one signs, all of them verify.
    """

    __slots__ = ()

    def __init__(self, name, value, secret=None, **kw):
        super().__init__(name, value, **kw)
        self.__data__["secret"] = secret

    @classmethod
    def parse(cls, s, secret, mismatch=Cookie.DOWNGRADE, names=None):
        """Return ``{name: cookie}`` of a Cookie header's text, each verified.

        :param mismatch: what becomes of one whose signature is wrong: ``DOWNGRADE`` makes it a
            plain Cookie, ``IGNORE`` leaves it out, ``EXCEPTION`` raises CookieError.
        """
        cookies = super().parse(s, names)
        for name, cookie in list(cookies.items()):
            try:
                cookie._verify(secret)
            except CookieError:
                if mismatch == Cookie.EXCEPTION:
                    raise
                if mismatch == Cookie.IGNORE:
                    del cookies[name]
                else:
                    cookies[name] = Cookie(name, cookie.value)
        return cookies

    def hexdigest(self, str):
        """Return the signature of the text *str* under this cookie's name and secret."""
        signer = _signer(self.__data__["secret"])
        return signer.sign(_signed(self.name, str)).hex()

    def unsign(self, secret):
        """Verify the value and take the signature off it.

        :raises CookieError: if it was not signed by *secret*.
        """
        signature, value = self.value[:_SIGNATURE_LENGTH], self.value[_SIGNATURE_LENGTH:]
        given = bytes.fromhex(signature) if _SIGNATURE.fullmatch(signature) else b""
        if not _signer(secret).is_signed(_signed(self.name, value), given):
            raise CookieError(f"cookie {self.name!a} is not signed by the secret")
        self.value = value
        self.__data__["secret"] = secret

    def _verify(self, secret):
        self.unsign(secret)

    def _text(self) -> str:
        value = self._unsigned_text()
        return self.hexdigest(value) + value

    def _unsigned_text(self) -> str:
        return str(self.value)


class MarshalCookie(SignedCookie):
    """A signed cookie for any value that :mod:`marshal` takes, unmarshalled once it is verified.

    Marshalled data of a client's making could crash the process; only what the secret has signed
    is read.
    """

    __slots__ = ()

    def unmarshal(self, secret):
        """Verify the value and turn it back into what it was made of.

        :raises CookieError: if it was not signed by *secret*, or cannot be read.
        """
        self.unsign(secret)
        try:
            self.value = marshal.loads(base64.b64decode(self.value, validate=True))
        except (binascii.Error, EOFError, ValueError, TypeError) as error:
            raise CookieError(f"cookie {self.name!a} cannot be read: {error}") from error

    def _verify(self, secret):
        self.unmarshal(secret)

    def _unsigned_text(self) -> str:
        return base64.b64encode(marshal.dumps(self.value)).decode()


def add_cookie(req, cookie, value="", **kw):
    """Add a cookie to ``req.headers_out``, and a Cache-Control that keeps it out of caches.

    The latter goes to ``req.err_headers_out``, so that it stays where a handler assigns a
    Cache-Control of its own to ``headers_out`` afterwards: both are sent. The runtime adds it once
    more if a handler has replaced it in ``err_headers_out``, too.

    :param cookie: a Cookie, or a name to make one of with *value* and the attributes *kw*.
    :raises CookieError: if it cannot be sent.
    """
    if not isinstance(cookie, Cookie):
        cookie = Cookie(cookie, value, **kw)
    text = str(cookie)
    if _UNCACHED not in req.err_headers_out.get("Cache-Control", ""):
        req.err_headers_out.add("Cache-Control", _UNCACHED)
    response = getattr(req, "_response", None)
    if response is not None:
        # real mod_python has no such end of the handlers
        response.kept_cache_control = _UNCACHED
    req.headers_out.add("Set-Cookie", text)


def get_cookies(req, Class=Cookie, **kw):
    """Return ``{name: cookie}`` of the request's cookies; *kw* goes to ``Class.parse``.

    A Cookie field that is not UTF-8 counts as absent.
    """
    return Class.parse(guarded.header(req, "Cookie", ""), **kw)


def get_cookie(req, name, Class=Cookie, **kw):
    """Return the request's cookie *name*, or None."""
    return get_cookies(req, Class, names=[name], **kw).get(name)


def _pairs(text):
    for found in _PAIR.finditer(text):
        name, value = found.groups()
        # $Path and its kin are attributes of the cookie before them (RFC 2965 section 3.3.4)
        if not name.startswith("$"):
            yield name, value.rstrip()


def _date(seconds) -> str:
    # strftime would follow the locale
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    date = f"{_DAYS[weekday]}, {day:02}-{_MONTHS[month - 1]}-{year:04}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT"


def _signer(secret) -> signing.Signer:
    given = [secret] if isinstance(secret, (str, bytes)) else list(secret or ())
    found = tuple(one.encode() if isinstance(one, str) else bytes(one) for one in given)
    if not found or not all(found):
        raise CookieError("a signed cookie needs a secret")
    return signing.Signer(found)


def _signed(name: str, value: str) -> bytes:
    return f"{name}={value}".encode(errors="surrogatepass")
