"""Programs as mod_python's users wrote them: the same answers on mod_python and once converted."""

import base64
import re
import xmlrpc.client

import pytest

from tests.conftest import SERVERS, watched
from tests.servers.moved import Moved

GUEST = """
import os

from mod_python import Cookie, apache, util

_here = os.path.dirname(__file__)
lib = apache.import_module("lib", path=[_here])


def index(req):
    req.content_type = "text/html"
    return "<p>%s %s</p>" % (lib.title(), req.uri)


def upload(req):
    form = req.form
    said = ["%s %s %s" % (f.name, f.filename, f.type) for f in form.list]
    part = form["file"]
    said.append("%r %r %s" % (part.file.read(), part.disposition, sorted(part.headers.keys())))
    said.append("%s %s" % (form.has_key("name"), len(form.getlist("name"))))
    return "\\n".join(said)


def cookies(req):
    cookie = Cookie.Cookie("seen", "1")
    cookie.path = "/pub"
    Cookie.add_cookie(req, cookie)
    Cookie.add_cookie(req, "plain", "v", path="/")
    return ",".join(sorted("%s=%s" % (k, v.value) for k, v in Cookie.get_cookies(req).items()))


def deny(req):
    raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)


def lost(req):
    raise apache.SERVER_RETURN(apache.DONE, apache.HTTP_NOT_FOUND)


def leave(req):
    util.redirect(req, "index", text="bye")


def _hidden(req):
    return "never"


class Page:
    def __call__(self, req):
        return "called"

    def sub(self, req):
        return "sub"


page = Page()
text = "a string"
"""
TEMPLATE = """<h1><%= title %></h1>
<%
for item in items:
    # begin
%><li><%= item %></li><%
# end
%>
<%= part %>"""
PSP_PAGE = """<%@ include file="foot.inc" %><%= form.getfirst('q', 'none') %> <%= req.method %>"""
TEMPLATES = """
from mod_python import apache, psp


def handler(req):
    req.content_type = "text/html"
    part = psp.PSP(req, "part.tmpl", vars={"x": 7})
    psp.PSP(req, "page.tmpl").run({"title": "Hi", "items": [1, 2], "part": part})
    return apache.OK
"""
RPC = """
from xmlrpc.server import SimpleXMLRPCDispatcher

from mod_python import apache


class API:
    def add(self, a, b):
        return a + b


def handler(req):
    if req.method != "POST":
        req.allow_methods(["POST"], 1)
        raise apache.SERVER_RETURN(apache.HTTP_METHOD_NOT_ALLOWED)
    dispatcher = SimpleXMLRPCDispatcher(allow_none=True, encoding="utf-8")
    dispatcher.register_instance(API())
    response = dispatcher._marshaled_dispatch(req.read(int(req.headers_in["Content-Length"])))
    req.content_type = "text/xml"
    req.set_content_length(len(response))
    req.send_http_header()
    req.write(response)
    return apache.OK
"""
CONTROLLER = """
import os

from mod_python import apache


def handler(req):
    path = req.uri[len("/front"):].strip("/")
    req.content_type = "text/plain"
    if path == "file":
        req.sendfile(os.path.join(os.path.dirname(__file__), "data.txt"))
    elif path == "internal":
        req.internal_redirect("/front/target?x=1")
    elif path == "target":
        req.write("target %s %s %s" % (req.args, req.prev.uri if req.prev else None, req.main))
    elif path == "port":
        host = req.parsed_uri[apache.URI_PORT] == int(req.headers_in["Host"].split(":")[1])
        req.write("%s" % host)
    elif path == "status":
        req.status = apache.HTTP_NOT_FOUND
        req.write("my own page")
    elif path == "moved":
        req.headers_out.add("location", "/front/target")
        return apache.HTTP_MOVED_PERMANENTLY
    elif path == "declined":
        return apache.DECLINED
    return apache.OK
"""
MEMBERS = """
from mod_python import apache


def authenhandler(req):
    password = req.get_basic_auth_pw()
    if (req.user, password) != ("spam", "eggs"):
        return apache.HTTP_UNAUTHORIZED
    req.notes["who"] = req.user
    req.member = {"name": req.user}
    return apache.OK


def authzhandler(req):
    if req.uri.endswith("/admin"):
        return apache.HTTP_FORBIDDEN
    return apache.OK


def handler(req):
    req.content_type = "text/plain"
    req.write("%s %s %s %s" % (req.user, req.ap_auth_type, req.notes["who"], req.member))
    return apache.OK
"""
OLD_SCRIPT = """
import os

print("Content-Type: text/plain")
print()
print(os.environ["REQUEST_METHOD"], os.environ["QUERY_STRING"], os.environ["SCRIPT_NAME"])
"""
FILES = {
    "pub/guest.py": GUEST,
    "pub/lib.py": "def title():\n    return 'The Title'\n",
    "psp/page.psp": PSP_PAGE,
    "psp/foot.inc": "<p>foot <%= 1+1 %></p>",
    "tmpl/app.py": TEMPLATES,
    "tmpl/page.tmpl": TEMPLATE,
    "tmpl/part.tmpl": "<b><%= x %></b>",
    "rpc/rpc_server.py": RPC,
    "front/controller.py": CONTROLLER,
    "front/data.txt": "0123456789\n",
    "auth/members.py": MEMBERS,
    "cgi/old.py": OLD_SCRIPT,
}
SITE = """
DocumentRoot "{directory}/www"
<Directory "{directory}/www">
    Require all granted
</Directory>
<Directory "{directory}/www/pub">
    SetHandler mod_python
    PythonHandler mod_python.publisher
</Directory>
<Directory "{directory}/www/psp">
    AddHandler mod_python .psp
    PythonHandler mod_python.psp
</Directory>
<Directory "{directory}/www/tmpl">
    SetHandler mod_python
    PythonHandler app
</Directory>
<Directory "{directory}/www/rpc">
    SetHandler mod_python
    PythonHandler rpc_server
</Directory>
<Directory "{directory}/www/front">
    SetHandler mod_python
    PythonHandler controller
</Directory>
<Directory "{directory}/www/auth">
    SetHandler mod_python
    PythonHandler members
    PythonAuthenHandler members
    PythonAuthzHandler members
    AuthType Basic
    AuthName "Members only"
    AuthUserFile /dev/null
    AuthBasicAuthoritative Off
    Require valid-user
</Directory>
<Directory "{directory}/www/cgi">
    SetHandler mod_python
    PythonHandler mod_python.cgihandler
</Directory>
"""
MODULES = ("env", "authn_core", "authn_file", "authz_user", "auth_basic")


@pytest.fixture(scope="module", params=SERVERS)
def shared(request, base):
    directory = base / f"programs-{request.param}"
    directory.mkdir()
    server = Moved(directory, request.param, SITE, modules=MODULES)
    for name, text in FILES.items():
        path = directory / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with server:
        yield server


@pytest.fixture
def site(shared):
    yield from watched(shared)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/pub/guest", 200, "<p>The Title /pub/guest</p>"),
        ("/pub/guest.py/index", 200, "<p>The Title /pub/guest.py/index</p>"),
        ("/pub/guest/page", 200, "called"),
        ("/pub/guest/page/sub", 200, "sub"),
        ("/pub/guest/text", 200, "a string"),
        ("/pub/guest/_hidden", 403, None),
        ("/pub/guest/deny", 403, None),
        ("/pub/guest/nothing", 404, None),
        ("/pub/guest/lost", 404, ""),
        ("/pub/guest/leave", 302, "bye"),
        ("/psp/page.psp", 200, "<p>foot 2</p>none GET"),
        ("/psp/page.psp?q=abcd", 200, "<p>foot 2</p>b'abcd' GET"),
        ("/tmpl/x", 200, "<h1>Hi</h1>\n<li>1</li><li>2</li>\n<b>7</b>"),
        ("/rpc/", 405, None),
        ("/front/file", 200, "0123456789\n"),
        ("/front/data.txt", 200, ""),
        ("/front/internal", 200, "target x=1 /front/internal None"),
        ("/front/target", 200, "target None None None"),
        ("/front/port", 200, "True"),
        ("/front/status", 404, "my own page"),
        ("/front/moved", 301, None),
        ("/front/declined", 404, None),
        ("/cgi/old.py?a=b", 200, "GET a=b /cgi/old.py\n"),
    ],
)
def test_address_gives_the_page(site, path, status, body):
    site.expect("AH00128|_hidden")
    answer = site.request(path)
    assert answer.status == status, (path, answer.body, site.log())
    if body is not None:
        assert answer.body.decode() == body


def test_form_with_a_file(site):
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="name"\r\n\r\none\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="name"\r\n\r\ntwo\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nof the file\r\n--xyz--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    answer = site.request("/pub/guest/upload", "POST", kind, body)
    assert answer.body.decode().splitlines() == [
        "name None text/plain",
        "name None text/plain",
        "file a b.txt text/plain",
        "b'of the file' 'form-data' ['Content-Disposition', 'Content-Type']",
        "True 2",
    ], site.log()


def test_cookies_come_and_go(site):
    answer = site.request("/pub/guest/cookies", headers={"Cookie": "a=1; bb=two"})
    assert answer.body == b"a=1,bb=two"
    assert sorted(answer.headers.get_all("Set-Cookie")) == ["plain=v; path=/", "seen=1; path=/pub"]


def test_remote_procedure_is_called(site):
    def call(method, *arguments):
        body = xmlrpc.client.dumps(arguments, method).encode()
        answer = site.request("/rpc/", "POST", {"Content-Type": "text/xml"}, body)
        assert answer.headers["Content-Type"] == "text/xml"
        return xmlrpc.client.loads(answer.body)[0]

    assert call("add", 2, 3) == (5,)
    with pytest.raises(xmlrpc.client.Fault, match="not supported"):
        call("nothing")


def test_members_are_known_to_the_page(site):
    site.expect("AH01617|AH01618|AH01614|AH01807|WSGI00")
    answer = site.request("/auth/x")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Members only"'

    def sign_in(path, password):
        credentials = base64.b64encode(f"spam:{password}".encode()).decode()
        return site.request(path, headers={"Authorization": f"Basic {credentials}"})

    assert sign_in("/auth/x", "no").status == 401
    answer = sign_in("/auth/x", "eggs")
    # what one phase leaves in the request is there in the next
    assert answer.body == b"spam Basic spam {'name': 'spam'}", site.log()
    assert sign_in("/auth/admin", "eggs").status == 403


def test_all_was_carried_over(shared):
    assert shared.status == 0 and not re.search("not carried over", shared.said)
