"""Forms and redirects: types as mod_python has them."""

import functools
import io
import random
import re

import pytest
from mod_python import apache, util

from tests.form_bodies import END, MULTIPART, form, named, part, request
from tests.wsgi import serve


@pytest.mark.parametrize(
    "query, blank, expected",
    [
        ("a=1&b=2;c=3", 0, [("a", "1"), ("b", "2"), ("c", "3")]),
        ("x_y=1&a%20b=c%20d", 0, [("x_y", "1"), ("a b", "c d")]),
        ("a=&b&c=1", 0, [("c", "1")]),
        ("a=&b&c=1", 1, [("a", ""), ("b", ""), ("c", "1")]),
        ("a=b=c&a=2", 0, [("a", "b=c"), ("a", "2")]),
        ("=v", 0, [("", "v")]),
        ("a=x+y%2B%C3%A9", 0, [("a", "x y+é")]),
        ("a=%E9", 0, [("a", "é")]),
        ("a=%zz%4", 0, [("a", "%zz%4")]),
        ("a=é", 0, [("a", "é")]),
        ("", 1, []),
        ("&&;;", 1, []),
    ],
)
def test_parse_qsl(query, blank, expected):
    assert util.parse_qsl(query, blank) == expected
    if query.isascii() and "%E9" not in query:
        raw = [(name.encode(), value.encode()) for name, value in expected]
        assert util.parse_qsl(query.encode(), blank) == raw


def test_parse_qs():
    assert util.parse_qs("a=1&a=2;b=3&c=") == {"a": ["1", "2"], "b": ["3"]}
    assert util.parse_qs(b"a=%E9&c=", keep_blank_values=1) == {b"a": [b"\xe9"], b"c": [b""]}
    with pytest.raises(TypeError):
        util.parse_qs(None)


@pytest.mark.parametrize(
    "line, expected",
    [
        (b"Text/HTML", (b"text/html", {})),
        (b'a/b; Charset="UTF-8"; x; y=z', (b"a/b", {b"charset": "UTF-8", b"x": "", b"y": "z"})),
        (b'f; name="a;b"; filename="c\\"d"', (b"f", {b"name": "a;b", b"filename": 'c"d'})),
        (b'f; filename="C:\\dir\\x.jpg"', (b"f", {b"filename": "C:\\dir\\x.jpg"})),
        ('f; name="é"'.encode(), (b"f", {b"name": "é"})),
        (b'f; name="\xe9"', (b"f", {b"name": "é"})),
        (b'f; name=""', (b"f", {b"name": ""})),
        (b"", (b"", {})),
    ],
)
def test_parse_header(line, expected):
    assert util.parse_header(line) == expected


def test_parse_header_takes_bytes_only():
    with pytest.raises(TypeError):
        util.parse_header("text/html")


def test_fields_of_the_query_are_str():
    def look(fs):
        field = fs["name"]
        assert isinstance(field, util.StringField) and field == b"\xc3\xa9"
        assert field.file.read() == b"\xc3\xa9"
        assert (field.filename, field.type, field.ctype) == (None, "text/plain", "text/plain")
        assert repr(field) == "Field('name', 'é')"
        return [(type(item.value), name, item.value) for name, item in fs.items()]

    expected = [(str, "name", "é"), (str, "blank", "")]
    assert (
        form(method="GET", query="name=%C3%A9&blank=", look=look, keep_blank_values=1) == expected
    )


def test_fields_of_an_urlencoded_body_are_bytes():
    def look(fs):
        assert repr(fs) == "{'q': [Field('q', '1')], b'spam': [Field(b'spam', b'\\xe9')]}"
        return fs.items()

    assert form(b"spam=%E9&eggs=", query="q=1", look=look) == [("q", b"1"), (b"spam", b"\xe9")]


def test_fields_of_a_multipart_body():
    body = (
        b"preamble\r\n"
        + named(b"text", "é".encode())
        + named("naïve".encode(), b"\xe9")
        + named(
            b"up", b"\0\r\n\n--X\r\r\n", b'; filename="a;b.png"\r\nContent-Type: image/png; q=1'
        )
        + named(b"none", b"", b'; filename=""\r\nContent-Type: application/octet-stream')
        + END
    )

    def look(fs):
        assert fs.keys() == ["text", "naïve", "up", "none"]
        assert (fs["text"].value, fs["text"].filename) == ("é".encode(), None)
        assert fs["naïve"].value == b"\xe9"
        upload = fs["up"]
        assert type(upload) is util.Field
        assert upload.value == upload.file.read() == b"\0\r\n\n--X\r\r\n"
        assert (upload.filename, upload.type) == ("a;b.png", "image/png")
        assert upload.type_options == {b"q": "1"}
        assert upload.disposition == "form-data"
        assert upload.disposition_options == {b"name": "up", b"filename": "a;b.png"}
        assert upload.headers["content-type"] == "image/png; q=1"
        assert type(fs["none"]) is util.StringField
        return True

    assert form(body, MULTIPART, look=look)


@pytest.mark.parametrize(
    "content_type, body",
    [
        (MULTIPART, named(b"a", b"v") + b"--XX--"),
        (MULTIPART + "; charset=utf-8", named(b"a", b"v") + END),
        ('multipart/form-data; boundary="XX"', named(b"a", b"v") + END + b"epilogue"),
        (MULTIPART, named(b"a", b"v").replace(b"\r\n", b"\n", 3) + b"--XX  \r\n--XX--"),
        (MULTIPART, named(b"a", b"v") + b"--XX\r\n--XX\r\n" + END),
        (MULTIPART, part(b'Content-Disposition: form-data;\r\n name="a"', b"v") + END),
    ],
)
def test_multipart_bodies_as_clients_write_them(content_type, body):
    assert form(body, content_type, look=lambda fs: fs["a"].value) == b"v"


def test_any_value_survives_a_multipart_body():
    rng = random.Random(7)
    values = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"--XX", b"-" * 70000, b"x" * 65367 + b"\r\n"]
    values += [b"x" * 65368 + b"--XX", b"a" * 65367 + b"\r" + b"--XX\r"]
    values += [bytes(rng.choices(b"\r\n-Xab", k=rng.randrange(200))) for _ in range(300)]
    values = [value for value in values if b"\n--XX" not in value and not value.startswith(b"--XX")]
    for value in values:
        body = named(b"a", value, b'; filename="f"') + named(b"b", value) + END
        both = form(body, MULTIPART, look=lambda fs: (fs["a"].value, fs["b"].value))
        assert both == (value, value)


def test_callbacks_give_the_files(tmp_path):
    names = []

    def file_callback(name):
        names.append(name)
        return open(tmp_path / "upload", "w+b")

    def field_callback():
        return open(tmp_path / "field", "w+b")

    body = named(b"up", b"content", b'; filename="../x"') + named(b"a", b"text") + END
    callbacks = {"file_callback": file_callback, "field_callback": field_callback}

    def look(fs):
        fs["a"].file.close()
        return fs["up"].value, fs["a"].value

    assert form(body, MULTIPART, look=look, **callbacks) == (b"content", b"text")
    assert names == ["../x"]
    assert (tmp_path / "upload").read_bytes() == b"content"


def test_mapping():
    def look(fs):
        assert fs.getfirst("a") == b"1" and fs.getfirst("x") is None and fs.getfirst("x", 5) == 5
        assert fs.getlist("a") == [b"1", b"3"] and fs.getlist("x") == []
        assert fs["a"] == [b"1", b"3"] and fs["b"] == b"2"
        assert fs.get("b", 0) == b"2" and fs.get("x", 0) == 0 and fs.get("x") is None
        assert "a" in fs and fs.has_key("b") and "x" not in fs
        assert (len(fs), list(fs), fs.keys()) == (2, ["a", "b"], ["a", "b"])
        with pytest.raises(KeyError):
            fs["x"]
        fs["a"] = b"new"
        fs.add_field("c", "added")
        assert fs.items() == [("b", b"2"), ("a", b"new"), ("c", b"added")]
        del fs["b"]
        with pytest.raises(KeyError):
            del fs["b"]
        fs.list.append(fs["c"])
        assert fs.getlist("c") == [b"added", b"added"]
        fs.clear()
        return len(fs)

    assert form(method="GET", query="a=1&b=2&a=3", look=look) == 0


def test_field_made_by_hand(tmp_path):
    file = open(tmp_path / "f", "w+b")  # noqa: SIM115 - the field closes it
    file.write(b"text")
    field = util.Field("name", file, "text/plain", {}, "form-data", {"filename": "f"})
    assert (field.value, field.filename, field.headers) == (b"text", "f", {})
    del field
    assert file.closed
    assert util.Field("only").name == "only"
    assert util.Field("none", None, "a/b", {}, None, {}).value is None


def test_get_reads_no_body():
    assert form(b"a=1", method="GET", look=len) == 0


class Callable:
    def __call__(self, req, a, b="default"):
        return req, a, b

    def method(self, req, a, b="default"):
        return req, a, b


def wrapped(function):
    @functools.wraps(function)
    def wrapper(req, **fields):
        return req, fields

    return wrapper


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda req, a, b="default": (req, a, b), (1, "2", "default")),
        (Callable(), (1, "2", "default")),
        (Callable().method, (1, "2", "default")),
        (lambda req, *, a: (req, a), (1, "2")),
        (lambda: "nothing", "nothing"),
        (lambda req, **kw: (req, kw), (1, {"a": "2", "x": ["3", "4"]})),
        (wrapped(lambda req: None), (1, {"a": "2", "x": ["3", "4"]})),
        (dict, {}),
    ],
)
def test_apply_fs_data(function, expected):
    def look(fs):
        return util.apply_fs_data(function, fs, req=1)

    assert form(method="GET", query="a=2&x=3&x=4&req=5", look=look) == expected


def test_form_is_asked_for_text_or_bytes_whichever_its_body_gives():
    def look(fs):
        asked = [(fs[name], name in fs, fs.getlist(name)) for name in ("é", "é".encode())]
        assert asked == [(b"1", True, [b"1"])] * 2
        assert fs.get("é", 0) == fs.getfirst("é") == b"1"
        with pytest.raises(KeyError):
            fs["x"]
        with pytest.raises(KeyError):
            del fs["x"]
        del fs["é"]
        return fs.keys()

    assert form(b"%C3%A9=1", look=look) == []
    assert form(method="GET", query="%C3%A9=1", look=look) == []


def test_read_to_boundary():
    boundary = re.compile(rb"--X(--)?\r?\n")
    form = util.FieldStorage.__new__(util.FieldStorage)
    long = b"x" * (util.readBlockSize - 1)
    body = b"a\r\n\r\nb\n\r--X-\r\n--X\n" + long + b"\r\n--X--\nend\r\n"
    req = request(body, MULTIPART)
    found = []
    for last in (False, True, True):
        file = io.BytesIO()
        assert form.read_to_boundary(req, boundary, file) == last
        found.append(file.getvalue())
    assert found == [b"a\r\n\r\nb\n\r--X-", long, b"end\r\n"]
    assert form.read_to_boundary(request(b"a\n--X\n", MULTIPART), boundary, None) is False


def test_text_and_bytes_of_one_name_stay_apart():
    def look(fs):
        return fs["a"], fs[b"a"]

    assert form(b"a=2", query="a=1", look=look) == (b"1", b"2")


def test_apply_fs_data_knows_every_kind_of_callable():
    class Called:
        def __init__(self, a=0):
            self.a = a

        def __call__(self, a, *, c=0, **kw):
            return a, c

        @classmethod
        def of_class(cls, a, **kw):
            return a, sorted(kw)

        def only_by_place(self, b=1, /, a=2):
            return b, a

    def look(fs):
        functions = (Called(), Called.of_class, Called().only_by_place, lambda a: Called(a).a)
        return [util.apply_fs_data(function, fs) for function in functions]

    query = "a=x&b=y&c=z&self=0&cls=1"
    assert form(method="GET", query=query, look=look) == [
        ("x", "z"),
        ("x", ["b", "c", "self"]),
        (1, "x"),
        "x",
    ]


def test_apply_fs_data_passes_fields_of_bodies():
    def look(fs):
        return util.apply_fs_data(lambda a, up=None: (a, up and up.filename), fs)

    # as text, so that a function need not know how its form was sent
    assert form(b"a=%C3%A9", look=look) == ("é", None)
    assert form(b"a=%FF&a=2", look=look) == (["\xff", "2"], None)
    body = named(b"a", b"1") + named(b"up", b"x", b'; filename="f"') + END
    assert form(body, MULTIPART, look=look) == (b"1", "f")


@pytest.mark.parametrize("permanent, status", [(0, "302 Found"), (1, "301 Moved Permanently")])
def test_redirect(permanent, status):
    def handler(req):
        util.redirect(req, '/x?a=1&b="<script>', permanent)

    answer = serve(handler)
    assert answer.status == status
    assert answer["Location"] == '/x?a=1&b="<script>'
    assert b"<script>" not in answer.body
    assert b"a=1&amp;b=&quot;" in answer.body


def test_redirect_with_a_text_of_its_own():
    answer = serve(lambda req: util.redirect(req, "/x", text="gone"))
    assert (answer.status, answer.body) == ("302 Found", b"gone")


def test_redirect_refuses_what_it_cannot_do():
    def handler(req):
        with pytest.raises(TypeError):
            util.redirect(req, b"/x")
        with pytest.raises(ValueError, match="CR"):
            util.redirect(req, "/x\r\nSet-Cookie: a=b")
        req.write("text")
        with pytest.raises(OSError, match="sent already"):
            util.redirect(req, "/x")
        return apache.OK

    assert serve(handler).status == "200 OK"
