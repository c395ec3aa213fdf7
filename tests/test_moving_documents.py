"""ErrorDocument for statuses that handlers return, on mod_python and once it is converted."""

import pytest

from tests.conftest import SERVERS, watched
from tests.servers.moved import Moved

PAGE = """
from mod_python import apache


def handler(req):
    req.content_type = "text/plain"
    if req.prev is not None:
        if "again" in req.uri:
            return apache.HTTP_GONE
        said = [req.subprocess_env[f"REDIRECT_{name}"] for name in ("STATUS", "OF_SITE")]
        req.write(f"{req.status} {req.uri} {req.args} {req.method} {req.prev.uri} {said}")
        return apache.OK
    req.headers_out["X-Lost"] = "1"
    req.err_headers_out["X-Kept"] = "1"
    req.write("dropped", 0)
    if req.args == "raise":
        raise ValueError("of the handler")
    return int(req.args or 0)
"""
SITE = """
DocumentRoot "{directory}/files"
<Directory />
    Require all denied
</Directory>
<Directory "{directory}/files">
    Require all granted
</Directory>
<Directory "{directory}/files/closed">
    Require all denied
</Directory>
<Files ".ht*">
    Require all denied
</Files>
ErrorDocument 404 "nothing <b>here</b>"
ErrorDocument 403 /errors/403.html
ErrorDocument 410 http://else.test/gone?a=b
ErrorDocument 500 /app/failed?why
ErrorDocument 409 /closed/409.html
ErrorDocument 401 http://else.test/
ErrorDocument 405 /errors/none.html
ErrorDocument 402 /app/again
ErrorDocument 400 /app2/other
<Directory "{directory}/files/app">
    SetHandler mod_python
    PythonPath "['{directory}/code'] + sys.path"
    PythonHandler page
    SetEnv OF_SITE yes
</Directory>
<Directory "{directory}/files/app/inner">
    ErrorDocument 404 default
    ErrorDocument 403 "text instead"
    ErrorDocument 410 /app/inner/again
</Directory>
<Directory "{directory}/files/app2">
    SetHandler mod_python
    PythonPath "['{directory}/code'] + sys.path"
    PythonHandler page
</Directory>
<Location "/place">
    SetHandler mod_python
    PythonPath "['{directory}/code'] + sys.path"
    PythonHandler page
    SetEnv OF_SITE yes
    ErrorDocument 500 /place/failed
</Location>
"""


@pytest.fixture(scope="module", params=SERVERS)
def shared(request, base):
    directory = base / f"documents-{request.param}"
    directory.mkdir()
    server = Moved(directory, request.param, SITE, modules=("env",))
    for name in ("app/inner", "app2", "errors", "closed"):
        (directory / "files" / name).mkdir(parents=True)
    (directory / "code").mkdir()
    (directory / "code" / "page.py").write_text(PAGE)
    (directory / "files" / "errors" / "403.html").write_text("<p>not for you</p>")
    (directory / "files" / "closed" / "409.html").write_text("secret")
    with server:
        yield server


@pytest.fixture
def documented(shared):
    yield from watched(shared)


@pytest.mark.parametrize("place", ["app", "place"])
def test_text_and_url_of_another_server(documented, place):
    answer = documented.request(f"/{place}/x?404")
    assert (answer.status, answer.body) == (404, b"nothing <b>here</b>")
    assert answer.headers["Content-Type"] == "text/html; charset=iso-8859-1"
    assert (answer.headers["X-Kept"], answer.headers["X-Lost"]) == ("1", None)
    answer = documented.request(f"/{place}/x?410")
    assert (answer.status, answer.headers["Location"]) == (302, "http://else.test/gone?a=b")
    assert documented.request(f"/{place}/x?401").status == 401
    assert documented.request(f"/{place}/x", headers={"X-No": "1"}).body == b"dropped"


@pytest.mark.parametrize("place", ["app", "place"])
def test_file_that_everybody_may_have(documented, place):
    for method in ("GET", "POST"):
        answer = documented.request(f"/{place}/x?403", method)
        assert (answer.status, answer.body) == (403, b"<p>not for you</p>")
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["X-Kept"] == "1"
    assert documented.request(f"/{place}/x?403", "HEAD").status == 403


def test_handlers_of_the_section_answer(documented):
    documented.expect("of the handler|Traceback|File|raise|PythonHandler page|call|\\^\\^")
    for query, method in (("500", "GET"), ("raise", "POST")):
        answer = documented.request(f"/app/x?{query}", method)
        assert answer.status == 500
        assert answer.body == b"500 /app/failed why GET /app/x ['500', 'yes']"
        assert answer.headers["X-Kept"] == "1"
    answer = documented.request("/place/x?500")
    assert (answer.status, answer.body[:31]) == (500, b"500 /place/failed None GET /pla")


def test_document_that_fails_is_not_asked_for_again(documented):
    answer = documented.request("/app/inner/x?410")
    assert answer.status == 410
    assert b"<title>410 Gone" in answer.body


def test_inner_section_overrides(documented):
    answer = documented.request("/app/inner/x?404")
    assert answer.status == 404 and b"nothing <b>" not in answer.body
    assert documented.request("/app/inner/x?403").body == b"text instead"
    assert documented.request("/app/inner/x?410", "HEAD").status == 410


def test_file_that_is_not_for_everybody_is_never_sent(documented):
    documented.expect("client denied|AH01630|only Apache could answer")
    answer = documented.request("/app/x?409")
    assert (answer.status, b"secret" in answer.body) == (409, False)


def test_file_that_is_not_there_is_the_page_of_the_status(documented):
    documented.expect("only Apache could answer|AH00128|AH01630")
    answer = documented.request("/app/x?405")
    assert (answer.status, b"405 Method" in answer.body) == (405, True)


def test_what_only_apache_can_answer_is_one_line(documented):
    if documented.server == "mod_python":
        return
    documented.expect("ErrorDocument 400 /app2/other")
    for _ in range(8):
        answer = documented.request("/app/x?400")
        assert (answer.status, b"400 Bad Request" in answer.body) == (400, True)
    # once in each child
    assert 1 <= documented.log().count("ErrorDocument 400 /app2/other") <= documented.children
