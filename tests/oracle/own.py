"""What mod_python's own modules do: forms, cookies, configurations.

On mod_python these handlers run in an interpreter in which this package has not put its modules in
the place of mod_python's.
"""

import importlib
import io
import json
import types
import urllib.parse

from mod_python import Cookie, apache, httpdconf, psp, util

from .answers import write_answer

MODULES = ("apache", "Cookie", "Session", "cache", "cgihandler", "httpdconf", "psp", "publisher")
MODULES += ("testhandler", "util", "version", "wsgi")
_SECRET = "secret"


def form(req):
    """Write all that the fields of a form say."""
    fields = util.FieldStorage(req, keep_blank_values=int(req.get_options().get("blank", "1")))

    def told():
        return [
            (field.name, field.value, field.filename, type(field).__name__) for field in fields.list
        ], [
            (field.type, field.disposition, field.disposition_options, field.type_options)
            for field in fields.list
            if field.disposition
        ]

    return write_answer(req, told)


def mapping(req):
    """Write what a form says as a mapping."""
    fields = util.FieldStorage(req)
    return write_answer(
        req,
        lambda: (
            len(fields),
            sorted(fields.keys()),
            sorted(fields),
            [name for name, _ in fields.items()],
            [fields.getfirst(name) for name in ("name", "other", "none")],
            [fields.getlist(name) for name in ("name", "none")],
            [name in fields for name in ("name", "none")],
            [fields.has_key(name) for name in ("name", "none")],
            fields.get("name", 5),
            fields.get("none", 5),
            fields["name"],
        ),
    )


def redirect(req):
    """Redirect as the query says."""
    location, permanent, text = json.loads(urllib.parse.unquote(req.args))
    util.redirect(req, location, permanent, text)


def cookies(req):
    """Write the cookies of the request."""
    found = Cookie.get_cookies(req)
    one = Cookie.get_cookie(req, "a")
    return write_answer(
        req, lambda: (sorted((name, c.value) for name, c in found.items()), one and one.value)
    )


def add_cookie(req):
    """Add cookies to the response."""
    Cookie.add_cookie(req, "a", "b", path="/x")
    Cookie.add_cookie(req, Cookie.Cookie("c", "d", httponly=1))
    req.content_type = "text/plain"
    req.write("added")
    return apache.OK


def names(req):
    """Write the public names of a module; on mod_python those that it has from others left out."""
    module = importlib.import_module(f"mod_python.{req.args}")
    found = {name for name in dir(module) if not name.startswith("_")}
    if module.__name__ == f"mod_python.{req.args}":
        found = {name for name in found if _is_own(module, getattr(module, name))}
    elif hasattr(module, "interpreter"):
        # which is found out when it is asked for
        found.add("interpreter")
    req.content_type = "application/json"
    req.write(json.dumps(sorted(found)))
    return apache.OK


def _is_own(module, value):
    defined_in = getattr(value, "__module__", None)
    return not isinstance(value, types.ModuleType) and defined_in in (
        *(None, module.__name__, "_apache", "mod_python.util"),
    )


def _applied(function, *fields, **args):
    storage = util.FieldStorage.__new__(util.FieldStorage)
    storage.list = util.FieldList()
    for name, value in fields:
        storage.add_field(name, value)
    return util.apply_fs_data(function, storage, **args)


def _sent(cookie):
    return str(cookie)


def _unsigned(cls, value, secret=_SECRET, **kw):
    signed = str(cls("name", value, secret=_SECRET))
    return cls.parse(signed, secret, **kw)["name"].value


class _Called:
    def __init__(self, a=0):
        self.a = a

    def method(self, a):
        return a

    def __call__(self, a):
        return [a]


def _field():
    field = util.StringField("é")
    field.name = "n"
    return field


def _container():
    conf = httpdconf
    return conf.Container(
        conf.Comment("one\ntwo"),
        conf.Listen("8000"),
        conf.ServerRoot("C:\\a"),
        conf.LogFormat(r'"%h \"%r\"" x'),
        conf.Container(conf.PidFile("b"), only_if="1 == 1"),
        conf.Container(conf.PidFile("c"), only_if="1 == 2"),
        conf.VirtualHost("*", conf.IfModule("a.c", conf.SetHandler("mod_python"))),
    )


QUESTIONS = {
    "parse_header": lambda: util.parse_header(b'Text/HTML; Charset="UTF-8"; x=y'),
    "parse_header of text": lambda: util.parse_header("a/b"),
    "parse_qsl": lambda: util.parse_qsl("name=Ann&abcd=1;wxyz=x+y%21&blank="),
    "parse_qsl, blank": lambda: util.parse_qsl("name=Ann&blank=&none", 1),
    "parse_qs": lambda: util.parse_qs("name=Ann&name=Bob&wxyz=1"),
    "apply": lambda: _applied(lambda a, b=2: (a, b), ("a", "1"), ("c", "3")),
    "apply twice": lambda: _applied(lambda a: a, ("a", "1"), ("a", "2")),
    "apply to keywords": lambda: sorted(_applied(lambda **kw: kw, ("a", "1"), c=3).items()),
    "apply to a method": lambda: _applied(_Called().method, ("a", "1")),
    "apply to a class": lambda: _applied(_Called, ("a", "1")).a,
    "apply to an object": lambda: _applied(_Called(), ("a", "1")),
    "apply to a builtin": lambda: _applied(dict, ("a", "1")),
    "apply without an argument": lambda: _applied(lambda a: a),
    "StringField": lambda: (_field(), bytes(_field()), _field().value),
    "StringField's file": lambda: _field().file.read(),
    "FieldStorage of short names": lambda: util.parse_qsl("a=1&x_y=2"),
    "PSP of text": lambda: psp.parsestring("a<%= 1 %>"),
    "PSP of bytes": lambda: psp.parsestring(b'a<%= 1 %>\\n"<% x = 1\n%>b'),
    "cookie in quotes": lambda: Cookie.Cookie.parse('a="b;c"')["a"].value,
    "StringField's attributes": lambda: (_field().filename, _field().ctype, _field().headers),
    "Field of old": lambda: util.Field("a", io.BytesIO(), "b", {}, "d", {"filename": "e"}).filename,
    "redirect to bytes": lambda: util.redirect(None, b"/x"),
    "readBlockSize": lambda: util.readBlockSize,
    "cookie": lambda: _sent(Cookie.Cookie("a", "b c")),
    "cookie with attributes": lambda: _sent(
        Cookie.Cookie("a", "b", path="/x", domain="c.d", comment="e", version=1, port=8)
    ),
    "cookie with flags": lambda: _sent(Cookie.Cookie("a", "b", secure=1, httponly=True)),
    "cookie that expires": lambda: _sent(Cookie.Cookie("a", "b", expires=0)),
    "cookie that expires by text": lambda: (
        Cookie.Cookie("a", "b", expires="Thu, 01-Jan-1970 00:00:00 GMT").expires
    ),
    "cookie that expires at some time": lambda: Cookie.Cookie("a", "b", expires="soon"),
    "cookie with an unknown attribute": lambda: Cookie.Cookie("a", "b", colour="red"),
    "cookie's absent attribute": lambda: Cookie.Cookie("a", "b").path,
    "cookies": lambda: sorted(
        (name, cookie.value)
        for name, cookie in Cookie.Cookie.parse('a=b; $Path=/; c="d"; f').items()
    ),
    "cookies by name": lambda: sorted(Cookie.Cookie.parse("a=b; c=d", names=["c"])),
    "cookie's repr": lambda: repr(Cookie.Cookie("a", "b")),
    "max_age": lambda: _sent(Cookie.Cookie("a", "b", max_age=5)),
    "flag that is off": lambda: _sent(Cookie.Cookie("a", "b", secure=0)),
    "line break in a cookie": lambda: _sent(Cookie.Cookie("a", "b\r\nc")),
    "signed": lambda: _unsigned(Cookie.SignedCookie, "value"),
    "signed by another": lambda: _unsigned(
        Cookie.SignedCookie, "value", "other", mismatch=Cookie.Cookie.EXCEPTION
    ),
    "signed without a secret": lambda: _sent(Cookie.SignedCookie("a", "b")),
    "marshalled": lambda: _unsigned(Cookie.MarshalCookie, {"a": [1, 2.5, None]}),
    "configuration": lambda: str(_container()),
    "configuration as Python": lambda: repr(_container()),
    "configuration of other things": lambda: httpdconf.Container().append("x"),
    "quote_if_space": lambda: [httpdconf.quote_if_space(text) for text in ("a", "a b")],
    "interpreter per directory": lambda: str(httpdconf.PythonInterpPerDirectory()),
}


def ask(req):
    """Answer the question that the query names."""
    return write_answer(req, QUESTIONS[urllib.parse.unquote(req.args)])
