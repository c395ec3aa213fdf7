"""Parsers of what others have written, on input that nobody thought of: documented errors only.

Hypothesis makes the input, the same in each run.
"""

import io
import pathlib
import re
import shutil
import string
import tempfile
import types

import hypothesis
import pytest
from hypothesis import configuration, given
from hypothesis import strategies as st
from mod_python import Cookie, apache, util

from handlers import signing, thumbnail
from handlers.configuration import text as configuration_text
from handlers.database import url as database_url
from handlers.image import geometry
from handlers.lookup import row, updated
from handlers.lookup.errors import DatabaseMisconfigured
from handlers.names import has_name, id_of, is_plain
from handlers.runtime import conditional, form_limits, guarded, psp_source, query
from handlers.runtime.request import Request
from handlers.sessions import serial, slots
from handlers.sessions import sid as sids
from handlers.sessions.store import Record
from tests.linear import assert_linear

pytestmark = pytest.mark.slow

APACHE_CONF = pathlib.Path(__file__).parent.parent / "apache_conf"
_HOME = tempfile.mkdtemp(prefix="hypothesis-")
# It would keep tables of letters in the checkout.
configuration.set_hypothesis_home_dir(_HOME)
repeatable = hypothesis.settings(
    derandomize=True, max_examples=200, deadline=None, database=None, print_blob=False
)

PIECES = (
    *("a", "B", "0", "9" * 20, " ", "\t", "\r\n", "\n", "\0", ";", ",", "=", "&", "?", "#", "%"),
    *("%41", "%zz", "+", '"', "\\", '\\"', "'", "/", "//", ":", "@", "[", "]", "::1", "--", "--XX"),
    *("W/", "*", "GMT", "Mon, ", "Jan", "00:00:00", "é", "\xff", "\ud800", "\u202e", "x" * 300),
    *("mysql://", "sqlite:///", "u:secret@", "h:3306", "charset=", "ssl_ca=", "Basic ", "dTpw"),
    *("-1", ".", "$Path"),
)
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)
blobs = st.lists(
    st.sampled_from([piece.encode("utf-8", "surrogatepass") for piece in PIECES])
    | st.binary(max_size=5),
    max_size=12,
).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def _no_trace():
    yield
    shutil.rmtree(_HOME, ignore_errors=True)


class Pieces(io.BytesIO):
    """A body that comes in pieces of *size* bytes."""

    def __init__(self, body, size):
        super().__init__(body)
        self._most = size

    def read(self, size=-1):
        return super().read(self._most if size < 0 else min(size, self._most))


def posted(body, kind, size=1 << 20, **variables):
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": kind,
        "wsgi.input": Pieces(body, size),
        **variables,
    }
    return Request(environ, None)


# -- cookies -------------------------------------------------------------------------------------


@repeatable
@given(texts)
def test_cookies_of_any_text(text):
    for name, cookie in Cookie.Cookie.parse(text).items():
        assert name and not set(name) & set(";= ") and cookie.name == name
    for secret in ("a secret", ["one", b"two"]):
        for kind in (Cookie.SignedCookie, Cookie.MarshalCookie):
            for found in kind.parse(text, secret).values():
                assert type(found) is Cookie.Cookie
            assert kind.parse(text, secret, mismatch=Cookie.Cookie.IGNORE) == {}


@repeatable
@given(st.text(string.ascii_letters + "-_", min_size=1), texts)
def test_signed_cookie_comes_back_or_is_refused(name, value):
    cookie = Cookie.SignedCookie(name, value, "a secret")
    try:
        sent = str(cookie)
    except (Cookie.CookieError, UnicodeEncodeError):
        return
    found = Cookie.SignedCookie.parse(sent, "a secret").get(name)
    # a browser takes blanks off the end
    if found is not None and type(found) is Cookie.SignedCookie:
        assert found.value == value


# -- forms and queries ---------------------------------------------------------------------------


@repeatable
@given(texts, st.booleans())
def test_query_of_any_text(text, blank):
    pairs = util.parse_qsl(text, blank)
    assert all(isinstance(part, str) for pair in pairs for part in pair)
    assert util.parse_qs(text, blank) == {
        name: [value for other, value in pairs if other == name] for name, _ in pairs
    }


@repeatable
@given(blobs, st.booleans(), st.integers(1, 9))
def test_body_in_pieces_has_the_pairs_of_the_whole(body, blank, size):
    blocks = [body[start : start + size] for start in range(0, len(body), size)]
    pairs = list(query.read_pairs(blocks, form_limits.Budget(), blank))
    assert pairs == util.parse_qsl(body, blank)


@repeatable
@given(blobs)
def test_header_with_parameters_of_any_bytes(line):
    value, parameters = util.parse_header(line)
    assert value == value.lower().strip()
    assert all(name == name.lower() and isinstance(text, str) for name, text in parameters.items())


@repeatable
@given(blobs, blobs, st.integers(1, 40))
def test_multipart_body_of_any_bytes_is_a_form_or_refused(start, rest, size):
    body = b"--XX\r\n" + start + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + rest
    req = posted(body, "multipart/form-data; boundary=XX", size)
    try:
        form = util.FieldStorage(req)
    except apache.SERVER_RETURN as error:
        assert error.args in ((400,), (413,))
    else:
        assert sum(len(field.value) for field in form.list) <= len(body)
    finally:
        req.run_cleanups()


names = st.text(string.ascii_letters, min_size=1, max_size=9)
values = blobs.filter(lambda value: b"\n--XX" not in value and not value.startswith(b"--XX"))


@repeatable
@given(st.lists(st.tuples(names, names | st.none(), values), max_size=6), st.integers(1, 99))
def test_multipart_body_gives_what_was_put_into_it(fields, size):
    body = b""
    for name, filename, value in fields:
        more = f'; filename="{filename}"' if filename else ""
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    req = posted(body + b"--XX--\r\n", "multipart/form-data; boundary=XX", size)
    try:
        form = util.FieldStorage(req)
        assert [(field.name, field.filename, field.value) for field in form.list] == fields
    finally:
        req.run_cleanups()


@repeatable
@given(texts)
def test_content_length_of_any_text(text):
    length = guarded.length_of(text)
    assert length is None or (text.isascii() and text.isdigit() and length == int(text))


@repeatable
@given(texts, texts)
def test_address_and_credentials_of_any_text(address, credentials):
    environ = {
        "REQUEST_URI": address,
        "HTTP_AUTHORIZATION": f"Basic {credentials}",
        "PythonOption.mod_python.auth_type": "Basic",
    }
    req = Request(environ, None)
    assert len(req.parsed_uri) == 9
    assert req.get_basic_auth_pw() is None or isinstance(req.user, str)


# -- Accept, dates, entity tags ------------------------------------------------------------------


def accept_expression(kind):
    conf = (APACHE_CONF / "handlers-site.conf").read_text()
    (text,) = re.findall(rf'SetEnvIfNoCase Accept "(.*image/{kind}.*)" ', conf)
    return re.compile(text, re.IGNORECASE)


blanks = st.sampled_from(["", " ", "\t", "  "])
weights = st.sampled_from(
    ["q=0", "q=0.0", "q=0.000", "q=1", "q=0.5", "q=0.01", "Q=0", "level=1", "v=0"]
)
kinds = st.sampled_from(
    ["image/avif", "image/webp", "IMAGE/AVIF", "image/*", "ximage/avif", "image/avifx"]
)
parameters = st.lists(st.tuples(blanks, blanks, weights), max_size=3)
elements = st.tuples(kinds, parameters, blanks, blanks)


@repeatable
@given(st.lists(elements, max_size=6))
def test_accept_expression_finds_what_the_list_says(listed):
    header = ",".join(
        before + kind + "".join(f"{a};{b}{weight}" for a, b, weight in parameters) + behind
        for kind, parameters, before, behind in listed
    )
    for name in ("avif", "webp"):
        wanted = any(
            kind.lower() == f"image/{name}"
            and not any(re.fullmatch(r"q=0(\.0*)?", w.lower()) for _, _, w in parameters)
            for kind, parameters, _, _ in listed
        )
        assert (accept_expression(name).search(header) is not None) == wanted


@repeatable
@given(texts)
def test_accept_expression_takes_any_text(text):
    accept_expression("webp").search(text)


@repeatable
@given(texts)
def test_date_of_any_text(text):
    assert conditional.parse_http_date(text) is None


@repeatable
@given(st.integers(-62135596800, 253402300799))
def test_date_comes_back(seconds):
    assert conditional.parse_http_date(conditional.http_date(seconds)) == seconds


@repeatable
@given(st.none() | st.just('"a"') | st.just('W/"a"'), texts, st.booleans())
def test_entity_tags_of_any_text(etag, field, weakly):
    found = conditional.etag_in(etag, field, weakly)
    assert not found or field.strip() == "*" or '"a"' in field


# -- ids, sizes, signatures ----------------------------------------------------------------------


@repeatable
@given(texts | st.from_regex(r"[0-9]{0,6}x[0-9]{0,6}(-crop)?(/[a-z0-9]{0,9}\.[a-z]{0,5})?"))
def test_size_and_name_of_any_text(text):
    try:
        assert str(geometry.parse(text)) == text
    except geometry.BadGeometry as error:
        assert str(error).isprintable()
    asked = thumbnail.parse(text)
    assert asked is None or asked.name == text


@repeatable
@given(st.tuples(*[st.integers(1, 100_000)] * 2), *[st.integers(1, 10_000)] * 2, st.booleans())
def test_thumbnail_fits_its_size(source, width, height, crop):
    (across, down), box = geometry.fit(source, geometry.Geometry(width, height, crop))
    assert 1 <= across <= width and 1 <= down <= height
    assert 0 <= box[0] < box[2] <= source[0] and 0 <= box[1] < box[3] <= source[1]


@repeatable
@given(texts, texts)
def test_signature_of_any_text(name, signature):
    name = name.encode("utf-8", "replace").decode()
    keys = ("a-key-of-24-characters-.", "another-of-24-characters")
    assert not signing.is_signed(name, signature, keys)
    assert signing.is_signed(name, signing.sign(name, keys[1]), keys)
    assert not sids.valid(signature)


# -- rows ----------------------------------------------------------------------------------------

cells = (
    *(st.none(), st.booleans(), st.integers(), st.floats(), texts, blobs, st.just(10**400)),
    *(
        st.decimals(allow_nan=False, allow_infinity=False),
        st.datetimes(),
        st.dates(),
        st.timedeltas(),
    ),
)


@repeatable
@given(st.lists(st.sampled_from((*row.NAMES, "ID", "other")), max_size=7), st.data())
def test_row_of_any_values(columns, data):
    try:
        read = row.reader(columns, has_name)
    except DatabaseMisconfigured:
        assert not {"id", "path"} <= {name.lower() for name in columns}
        return
    id, found = read([data.draw(st.one_of(cells)) for _ in columns])
    assert isinstance(id, str)
    if found is not None:
        assert has_name(id) and isinstance(found.path, str) and isinstance(found.private, bool)
        assert all(focus is None or abs(focus) < float("inf") for focus in found[2:])


@repeatable
@given(st.lists(st.one_of(cells), max_size=5))
def test_marks_of_time_of_any_values(column):
    mark = None
    for value in column:
        mark = updated.later(mark, value)
    encoded = updated.encode(mark)
    if encoded is not None:
        assert isinstance(updated.since(encoded, 7200), int | float | str)


# -- sessions ------------------------------------------------------------------------------------

records = st.builds(
    Record,
    data=blobs,
    created=st.floats(allow_nan=False),
    accessed=st.floats(allow_nan=False),
    timeout=st.floats(allow_nan=False),
    version=st.integers(0, 2**64 - 1),
)


@repeatable
@given(blobs | st.binary(max_size=300), st.integers(-5, 300))
def test_slots_of_any_bytes(blob, offset):
    assert slots.newest(blob, "key") is None
    assert slots.unpack(slots.MAGIC + blob, "key", offset) is None


@repeatable
@given(records, st.text(max_size=30).map(str.encode) | st.binary(max_size=30), st.data())
def test_slot_comes_back_whole_or_not_at_all(record, user, data):
    packed = slots.pack("key", record, user, record.version)
    found = slots.unpack(packed, "key")
    try:
        name = user.decode() or None
    except UnicodeDecodeError:
        assert found is None
        return
    assert found == (record._replace(user=name), 0, 0)
    place = data.draw(st.integers(0, len(packed) - 1))
    damaged = bytearray(packed)
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert slots.newest(bytes(damaged), "key") is None
    assert slots.newest(packed[:place], "key") is None
    assert slots.unpack(packed, "other key") is None


@repeatable
@given(blobs | st.binary(max_size=50), st.sampled_from(["json", "msgpack"]))
def test_stored_values_of_any_bytes(data, form):
    kept = serial.Serializer(form)
    for tag in (b"j", b"m", b""):
        try:
            kept.loads(tag + data, "sid")
        except serial.SerialError:
            continue
    with pytest.raises(serial.SerialError):
        serial.Serializer("pickle", [b"a secret of 24 characters"]).loads(b"P" + data, "sid")


# -- database URLs -------------------------------------------------------------------------------


@repeatable
@given(texts | texts.map("mysql://u:secret@h/n?".__add__) | texts.map("mysql://u:secret@".__add__))
def test_database_url_of_any_text(text):
    try:
        url = database_url.parse(text)
    except database_url.BadURL as error:
        assert "\n" not in str(error)
        return
    assert url.scheme in ("mysql", "sqlite")
    assert url.parameters.get("charset", "utf8") in ("utf8mb4", "utf8", "latin1", "ascii")
    if url.password:
        assert "secret" not in str(url) + repr(url) or "secret" in url.name + url.user


# -- time ----------------------------------------------------------------------------------------

PARSERS = {
    "cookies": Cookie.Cookie.parse,
    "signed cookies": lambda text: Cookie.SignedCookie.parse(text, "a secret"),
    "query": util.parse_qsl,
    "header": lambda text: util.parse_header(text.encode()),
    "date": conditional.parse_http_date,
    "entity tags": lambda text: conditional.etag_in('"a"', text, True),
    "Accept": lambda text: accept_expression("avif").search(text),
    "geometry": lambda text: thumbnail.parse(text),
    "database URL": lambda text: _refused(database_url.parse, text),
    "signature": lambda text: signing.is_signed("200x200/a.jpg", text, ("a" * 24,)),
    "length": guarded.length_of,
    "address": lambda text: Request({"REQUEST_URI": text}, None).parsed_uri,
    "id": is_plain,
    "name": has_name,
    "id of a name": id_of,
}
REPEATED = (
    *("a", "0", " ", ";", ",", "=", "&", "%", "%41", '"', "\\", '\\"', "/", ":", "@", "[", "x,"),
    *("a=b; ", 'a="', " image/avif;", "; q=0", "q=0.0", '"a", ', 'W/"', "a:b@", "h:1,", "\t"),
    *("1x", "--", "é"),
)


def _refused(parse, text):
    try:
        parse(text)
    except database_url.BadURL:
        return


@pytest.mark.parametrize("name", PARSERS)
def test_time_grows_with_the_input(name):
    parse = PARSERS[name]
    starts = {"date": "Mon, ", "database URL": "mysql://u@h/n?", "address": "http://"}
    for again in REPEATED:
        for end, tail in (("!", ""), (";q=0;", "a")):

            def work(size, again=again, end=end, tail=tail):
                parse(starts.get(name, "") + again * (size // len(again)) + end + tail * size)

            assert_linear(work, 1000, least=0.0002)


PSP_PIECES = (
    *("<%", "%>", "<%=", "<%--", "--%>", "<%@", "<%@ include file='x' %>", "\n", "\r\n", "\r"),
    *(" ", "\t", "    ", ":", "if 1:", "for x in y:", "x = 1", "# end", '"', '"""', "'", "\\"),
    *("\\n", "\\x4", "\\N{", "\\777", "<", "%", ">", "-", "é", "\0", "\ud800", "(", "{", "f'{"),
    *("lambda", "return", "yield", "await x", "\f", "\u2028", "1_", "0777", "1if 1else 2"),
)


@repeatable
@given(st.lists(st.sampled_from(PSP_PIECES) | st.text(max_size=3), max_size=16).map("".join))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_a_page_or_a_syntax_error(source):
    try:
        translation = psp_source.translate(source)
    except SyntaxError:
        return
    lines = max(1, translation.text.count("\n"))
    assert len(translation.lines) in (lines, lines + 1)
    try:
        psp_source.compile_page(translation, "page")
    except SyntaxError as error:
        assert 1 <= error.lineno <= source.count("\n") + source.count("\r") + 1


@repeatable
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\\r"), max_size=40))
def test_any_other_text_is_written_as_it_is(text):
    if "<%" not in text:
        written = []
        code = psp_source.compile_page(psp_source.translate(text), "page")
        exec(code, {"req": types.SimpleNamespace(write=lambda text, _: written.append(text))})
        assert "".join(written) == text


@repeatable
@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_parsed_text_prints_as_it_was(text):
    try:
        tree = configuration_text.parse(text)
    except configuration_text.Malformed:
        return
    assert "".join(tree.print()) == text


@repeatable
@given(st.text(st.characters(max_codepoint=255, exclude_characters="\n\0"), max_size=60))
def test_quoted_word_is_one_word(word):
    assert configuration_text.split(configuration_text.quote(word)) == [word]
