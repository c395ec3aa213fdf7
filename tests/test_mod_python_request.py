import os
import time
from wsgiref.util import setup_testing_defaults

import pytest

from handlers.mod_python import apache
from handlers.runtime.request import Request


def request(**variables) -> Request:
    environ = {name.replace("__", "."): value for name, value in variables.items()}
    setup_testing_defaults(environ)
    return Request(environ, None)


def test_request_line():
    req = request(
        REQUEST_METHOD="HEAD",
        SERVER_PROTOCOL="HTTP/1.1",
        REQUEST_URI="//a/b%20c?x=%41",
        SCRIPT_NAME="/a",
        PATH_INFO="/b c",
        QUERY_STRING="x=%41",
    )
    assert (req.method, req.method_number, req.header_only) == ("HEAD", apache.M_GET, 1)
    assert (req.protocol, req.proto_num, req.assbackwards) == ("HTTP/1.1", 1001, 0)
    assert (req.uri, req.unparsed_uri, req.args) == ("/a/b c", "//a/b%20c?x=%41", "x=%41")
    assert req.path_info == "/b c"
    assert req.the_request == "HEAD //a/b%20c?x=%41 HTTP/1.1"


@pytest.mark.parametrize(
    "method, number",
    [
        ("GET", apache.M_GET),
        ("PUT", apache.M_PUT),
        ("VERSION-CONTROL", apache.M_VERSION_CONTROL),
        ("get", apache.M_INVALID),
        ("FOO", apache.M_INVALID),
    ],
)
def test_methods_have_apaches_numbers(method, number):
    assert request(REQUEST_METHOD=method).method_number == number


def test_args_is_none_only_without_a_question_mark():
    assert request(REQUEST_URI="/a", QUERY_STRING="").args is None
    assert request(REQUEST_URI="/a?", QUERY_STRING="").args == ""


def test_text_is_utf_8_or_else_latin_1():
    assert request(PATH_INFO="/caf\xc3\xa9").path_info == "/café"
    assert request(PATH_INFO="/caf\xe9").path_info == "/caf\xe9"
    assert request(HTTP_X_NAME="\xe2\x82\xac").headers_in["X-Name"] == "€"


def test_file_name_opens_the_file_whatever_its_bytes(tmp_path):
    for name in (b"caf\xc3\xa9", b"caf\xe9"):
        path = bytes(tmp_path) + b"/" + name
        with open(path, "wb") as file:
            file.write(name)
        req = request(SCRIPT_FILENAME=path.decode("latin-1"))
        with open(req.filename, "rb") as file:
            assert file.read() == name
        assert req.finfo.size == len(name)
        # mod_wsgi alone decodes paths itself
        decoded = request(SCRIPT_FILENAME=os.fsdecode(path), mod_wsgi__version=(6, 1, 1))
        assert decoded.filename == req.filename == os.fsdecode(path)


@pytest.mark.parametrize(
    "host, hostname",
    [
        ("Example.ORG:8080", "example.org"),
        ("example.org.", "example.org"),
        ("[::1]:80", "::1"),
        ("", None),
    ],
)
def test_hostname_is_the_bare_name_in_lower_case(host, hostname):
    assert request(HTTP_HOST=host).hostname == hostname


def test_header_fields_are_found_by_any_case():
    req = request(HTTP_USER_AGENT="x", CONTENT_TYPE="text/plain", CONTENT_LENGTH="5")
    assert req.headers_in["user-agent"] == "x"
    assert ("User-Agent", "x") in req.headers_in.items()
    assert req.headers_in["Content-Type"] == "text/plain"
    assert req.headers_in["content-length"] == "5"


@pytest.mark.parametrize("name", ["nothing", "the_nothing", "requires", "_request_rec"])
def test_unknown_attribute_raises(name):
    with pytest.raises(AttributeError):
        getattr(request(), name)


@pytest.mark.parametrize(
    "name", ["filename", "unparsed_uri", "handler", "interpreter", "useragent_ip", "finfo"]
)
def test_attribute_that_the_server_does_not_tell_raises(name):
    with pytest.raises(AttributeError):
        getattr(request(), name)


@pytest.mark.parametrize("name", ["client_addr", "local_addr"])
def test_what_the_connection_does_not_tell_raises(name):
    with pytest.raises(AttributeError):
        getattr(request().connection, name)


def test_connection_and_server():
    req = request(
        REMOTE_ADDR="192.0.2.1",
        REMOTE_PORT="5000",
        SERVER_ADDR="192.0.2.2",
        SERVER_NAME="example.org",
        SERVER_PORT="80",
        mod_wsgi__listener_port="8080",
        PythonOption__a="1",
    )
    connection = req.connection
    assert connection.client_ip == connection.remote_ip == req.useragent_ip == "192.0.2.1"
    assert connection.client_addr == connection.remote_addr == ("192.0.2.1", 5000)
    assert req.useragent_addr == ("192.0.2.1", 5000)
    assert (connection.local_ip, connection.local_addr) == ("192.0.2.2", ("192.0.2.2", 8080))
    assert (req.server.server_hostname, req.server.port) == ("example.org", 8080)
    assert req.server.get_options() == req.get_options() == {"a": "1"}
    assert req.server.get_config() == req.get_config() == {}


def test_any_attribute_may_be_set():
    req = request()
    req.form = 1
    req.user = "joe"
    req.uri = "/x"
    assert (req.form, req.user, req.uri) == (1, "joe", "/x")
    with pytest.raises(AttributeError):
        req.connection.x = 1


def test_subprocess_env_has_what_the_admin_set():
    req = request(FOO="bar", PythonHandler="x", PythonOption__a="b", HTTP_X="1", CERT="a\nb")
    assert req.subprocess_env == {"FOO": "bar", "CERT": "a\nb"}
    req.add_common_vars()
    assert req.subprocess_env["HTTP_X"] == "1"
    assert "GATEWAY_INTERFACE" not in req.subprocess_env
    req.add_cgi_vars()
    assert req.subprocess_env["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert req.subprocess_env["REQUEST_METHOD"] == "GET"
    assert "PythonHandler" not in req.subprocess_env


def test_user_is_none_until_somebody_is_authenticated():
    assert request().user is None
    assert request().ap_auth_type is None
    assert request(REMOTE_USER="joe", AUTH_TYPE="Basic").user == "joe"


BASIC = {"PythonOption.mod_python.auth_type": "Basic"}


@pytest.mark.parametrize("variables", [BASIC, {"AUTH_TYPE": "Basic", "REMOTE_USER": "u"}])
def test_basic_authentication_gives_password_and_user(variables):
    req = request(HTTP_AUTHORIZATION="Basic dTpwOnE=", **variables)
    assert req.get_basic_auth_pw() == "p:q"
    assert (req.user, req.ap_auth_type) == ("u", "Basic")


@pytest.mark.parametrize("variables", [{}, {"PythonOption.mod_python.auth_type": "Digest"}])
def test_password_nobody_has_asked_for_gives_neither_password_nor_user(variables):
    req = request(HTTP_AUTHORIZATION="Basic dTpwOnE=", **variables)
    assert req.get_basic_auth_pw() is None
    assert (req.user, req.ap_auth_type) == (None, None)


@pytest.mark.parametrize("field", ["", "Basic !!!", "Bearer dTpw", "Digest x"])
def test_broken_authentication_gives_none_and_asks(field):
    name = {"PythonOption.mod_python.auth_name": 'the "site"'}
    req = request(HTTP_AUTHORIZATION=field, **BASIC, **name)
    assert req.get_basic_auth_pw() is None
    assert req.user is None
    assert req.err_headers_out["WWW-Authenticate"] == r'Basic realm="the \"site\""'
    assert (req.auth_type(), req.auth_name()) == ("Basic", 'the "site"')


@pytest.mark.parametrize("field, user", [("Basic", ""), ("Basic dXNlcg==", "user")])
def test_authentication_without_a_password_gives_an_empty_one(field, user):
    req = request(HTTP_AUTHORIZATION=field, **BASIC)
    assert (req.get_basic_auth_pw(), req.user) == ("", user)
    assert not req.err_headers_out


def test_error_document_begins_with_the_status_of_the_error():
    req = request(
        SCRIPT_NAME="/oops.py",
        QUERY_STRING="",
        REDIRECT_STATUS="403",
        REDIRECT_URL="/closed/x",
        REDIRECT_QUERY_STRING="q",
        REDIRECT_REQUEST_METHOD="PUT",
        REQUEST_URI="/closed/x?q",
    )
    assert (req.status, req.uri) == (403, "/oops.py")
    before = req.prev
    assert (before.uri, before.args, before.method) == ("/closed/x", "q", "PUT")
    assert (before.prev, before.next, before.status) == (None, req, 403)
    assert request().prev is None


def test_what_the_connection_is_without_a_name():
    connection = request(REMOTE_ADDR="192.0.2.1").connection
    assert (connection.remote_host, connection.local_host, connection.remote_logname) == (None,) * 3
    assert (connection.aborted, connection.keepalive, connection.double_reverse) == (0, 0, 0)
    assert connection.id >= 0 and len(connection.notes) == 0


def test_cgi_variables_have_no_password_and_no_empty_path():
    req = request(
        SCRIPT_NAME="/gr\xc3\xbc\xc3\x9fe",
        PATH_INFO="",
        QUERY_STRING="a=1",
        REQUEST_URI="/gr%C3%BC%C3%9Fe?a=1",
        HTTP_AUTHORIZATION="Basic dTpw",
        HTTP_X_NAME="\xe2\x82\xac",
    )
    req.add_cgi_vars()
    assert req.subprocess_env["REQUEST_URI"] == req.subprocess_env["SCRIPT_NAME"] == "/grüße"
    assert req.subprocess_env["HTTP_X_NAME"] == "€"
    for name in ("PATH_INFO", "HTTP_AUTHORIZATION"):
        assert name not in req.subprocess_env
    env = apache.build_cgi_env(req)
    assert env["HTTP_AUTHORIZATION"] == "Basic dTpw"
    assert env["SCRIPT_NAME"] == env["REQUEST_URI"] == "/gr\xc3\xbc\xc3\x9fe"
    assert env["HTTP_X_NAME"] == "\xe2\x82\xac"


def test_remote_host_is_the_address_without_look_up():
    req = request(REMOTE_ADDR="192.0.2.1")
    assert req.get_remote_host() == "192.0.2.1"
    assert req.get_remote_host(apache.REMOTE_NOLOOKUP, 1) == ("192.0.2.1", 1)
    assert req.get_remote_host(apache.REMOTE_HOST) is None
    assert (
        request(REMOTE_ADDR="192.0.2.1", REMOTE_HOST="a.example").get_remote_host() == "a.example"
    )


@pytest.mark.parametrize(
    "scheme, port, url",
    [
        ("http", "80", "http://example.org/x"),
        ("http", "8080", "http://example.org:8080/x"),
        ("https", "443", "https://example.org/x"),
    ],
)
def test_constructed_address_names_unusual_ports(scheme, port, url):
    req = request(wsgi__url_scheme=scheme, SERVER_NAME="example.org", SERVER_PORT=port)
    assert req.construct_url("/x") == url
    assert req.is_https() == (scheme == "https")


def test_request_time_is_the_servers():
    assert request(mod_wsgi__request_start=12.5).request_time == 12.5
    assert abs(request().request_time - time.time()) < 5


def test_parsed_uri_has_the_parts():
    req = request(REQUEST_URI="http://a.example:99/x?y", PATH_INFO="/x", QUERY_STRING="y")
    assert req.parsed_uri[apache.URI_SCHEME] == "http"
    assert req.parsed_uri[apache.URI_PORT] == 99
    assert req.parsed_uri[apache.URI_PATH] == "/x"
    assert req.parsed_uri[apache.URI_QUERY] == "y"


@pytest.mark.parametrize(
    "address, parts",
    [
        ("http://u:p@[::1]:8080/x", ("http", "u:p@[::1]:8080", "u", "p", "[::1]", 8080)),
        ("http://u@h?x", ("http", "u@h", "u", None, "h", None)),
        ("http://h:/x", (None,) * 6),
        ("http://h:999999/x", (None,) * 6),
        ("http://[/x", (None,) * 6),
        ("//[/x", (None,) * 6),
        ("http://h:x/", (None,) * 6),
        ("/http://h/", (None,) * 6),
    ],
)
def test_parsed_uri_of_any_address(address, parts):
    assert request(REQUEST_URI=address, PATH_INFO="/x").parsed_uri[:6] == parts


def test_allowed_methods_are_listed():
    req = request()
    req.allow_methods(["PUT", "BREW"])
    req.allow_methods(["GET", "BREW"])
    assert req.allow_header() == "GET, PUT, HEAD, BREW"
    req.allow_methods(["POST"], 1)
    assert req.allow_header() == "POST"


def test_content_type_is_guessed_until_set():
    req = request(SCRIPT_FILENAME="/x/a.html")
    assert req.content_type == "text/html"
    assert request(SCRIPT_FILENAME="/x/a.tar.gz").content_type == "application/gzip"
    assert request(SCRIPT_FILENAME="/x/a").content_type is None
    req.content_type = "text/css"
    assert req.content_type == "text/css"
    for wrong, error in (("text/€", TypeError), (None, TypeError), ("a\r\nb: c", ValueError)):
        with pytest.raises(error):
            req.content_type = wrong


def test_mtime_only_rises_and_last_modified_is_not_in_the_future():
    req = request(mod_wsgi__request_start=1_700_000_000.0)
    req.update_mtime(1_600_000_000.7)
    req.update_mtime(5)
    assert req.mtime == 1_600_000_000.0
    req.set_last_modified()
    assert req.headers_out["Last-Modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    req.update_mtime(2_000_000_000)
    req.set_last_modified()
    assert req.headers_out["Last-Modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_etag_is_that_of_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    req = request(SCRIPT_FILENAME=str(path), mod_wsgi__request_start=time.time() + 10)
    req.set_etag()
    assert req.headers_out["ETag"] == f'"5-{path.stat().st_mtime_ns // 1000:x}"'
    missing = request(SCRIPT_FILENAME=str(tmp_path / "missing"))
    missing.set_etag()
    assert "ETag" not in missing.headers_out


def test_conditions_are_those_of_the_headers_set():
    req = request(HTTP_IF_NONE_MATCH='"a"')
    assert req.meets_conditions() == apache.OK
    req.headers_out["ETag"] = '"a"'
    assert req.meets_conditions() == apache.HTTP_NOT_MODIFIED
    req.status = 404
    assert req.meets_conditions() == apache.OK


def test_types_are_named_as_those_of_mod_python():
    req = request()
    named = [repr(type(found)) for found in (req, req.connection, req.server)]
    assert named == ["<class 'mp_request'>", "<class 'mp_conn'>", "<class 'mp_server'>"]
