"""Configurations written for mod_python answer the same once they are converted."""

import base64
import os
import shutil
import subprocess

import pytest

from tests.conftest import SERVERS, watched
from tests.servers.moved import Moved

GUARD = """
from mod_python import apache, util


def access(req):
    return apache.OK if req.headers_in.get("X-Key") == "open" else apache.HTTP_FORBIDDEN


def header(req):
    return apache.HTTP_FORBIDDEN if req.args == "no" else apache.DECLINED


def asking(req):
    password = req.get_basic_auth_pw()
    if password is None:
        return apache.OK if req.args == "public" else apache.HTTP_UNAUTHORIZED
    return apache.OK if (req.user, password) == ("ann", "pa:ss") else apache.HTTP_FORBIDDEN


def raising(req):
    raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)


def broken(req):
    raise ValueError("of the handler")


def fixup(req):
    req.headers_out["X-Fixed"] = "yes"
    return apache.OK


def redirecting(req):
    if req.args == "go":
        util.redirect(req, "/closed/")
    if req.args == "own":
        req.handler = "mod_python"
        req.add_handler("PythonHandler", "guard::handler")
    return apache.OK


def authen(req):
    password = req.get_basic_auth_pw()
    if req.user == "none":
        return apache.DECLINED
    return apache.OK if (req.user, password) == ("ann", "pa:ss") else apache.HTTP_UNAUTHORIZED


def authz(req):
    return apache.OK if req.user == "ann" and req.args != "no" else apache.HTTP_FORBIDDEN


def handler(req):
    req.content_type = "text/plain"
    options = sorted(req.get_options().items())
    req.write(f"{__file__} {apache.interpreter} {options} {req.user}")
    return apache.OK
"""
CGI = "#!/bin/sh\necho Content-Type: text/plain\necho\nenv | sort\n"
SITE = """
DocumentRoot "{directory}/a"
DavLockDB "{directory}/run/dav"
<Directory "{directory}">
    Require all granted
</Directory>
<VirtualHost *:{port}>
    ServerName a.test:{port}
    DocumentRoot "{directory}/a"
    ScriptAlias /cgi "{directory}/cgi"
    Alias /git "/usr/lib/git-core/git-http-backend"
    <Directory "/usr/lib/git-core">
        Require all granted
        SetHandler cgi-script
        Options +ExecCGI
        SetEnv GIT_PROJECT_ROOT "{directory}/repos"
        SetEnv GIT_HTTP_EXPORT_ALL 1
    </Directory>
    <Location "/git">
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::access
    </Location>
    <Location "/cgi">
        PythonPath "['{directory}/code'] + sys.path"
        PythonHeaderParserHandler guard::header
        PythonOption db_password "sesame open"
        PythonOption plain 1
    </Location>
    <Directory "{directory}/a/closed">
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::access
    </Directory>
    <Directory "{directory}/a/raising">
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::raising
    </Directory>
    <Directory "{directory}/a/broken">
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::broken
    </Directory>
    <Directory "{directory}/a/asking">
        AuthType Basic
        AuthName "the site"
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::asking
    </Directory>
    <Directory "{directory}/a/users">
        AuthType Basic
        AuthName "the site"
        AuthUserFile /dev/null
        AuthBasicAuthoritative Off
        Require valid-user
        PythonPath "['{directory}/code'] + sys.path"
        PythonAuthenHandler guard::authen
    </Directory>
    <Directory "{directory}/a/groups">
        AuthType Basic
        AuthName "the site"
        AuthUserFile /dev/null
        AuthBasicAuthoritative Off
        Require valid-user
        PythonPath "['{directory}/code'] + sys.path"
        PythonAuthenHandler guard::authen
        PythonPath "['{directory}/code'] + sys.path"
        PythonAuthzHandler guard::authz
    </Directory>
    <Directory "{directory}/a/dav">
        DAV On
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::access
    </Directory>
    <Directory "{directory}/a/app">
        SetHandler python-program
        PythonHandler page
        PythonPath "['{directory}/a/app'] + sys.path"
        PythonOption db_password "sesame open"
        PythonOption plain 1
    </Directory>
    <Directory "{directory}/a/fixed">
        PythonPath "['{directory}/code'] + sys.path"
        PythonFixupHandler guard::redirecting
    </Directory>
    <Directory "{directory}/a/served">
        SetHandler mod_python
        PythonPath "['{directory}/code'] + sys.path"
        PythonAccessHandler guard::redirecting
        PythonHandler guard
    </Directory>
    <Directory "{directory}/a/published">
        AllowOverride All
    </Directory>
    <Directory "{directory}/a/pages">
        AddHandler mod_python .py .psp
        PythonHandler own::other | .py
        PythonHandler own | .psp
        PythonAccessHandler own::access
    </Directory>
</VirtualHost>
<VirtualHost *:{port}>
    ServerName b.test
    DocumentRoot "{directory}/b"
    <Directory "{directory}/b">
        SetHandler mod_python
        PythonHandler page
        PythonPath "['{directory}/b'] + sys.path"
    </Directory>
</VirtualHost>
<VirtualHost *:{port}>
    ServerName closed.test
    DocumentRoot "{directory}/a"
    <Location "/">
        AuthType Digest
        AuthName "the site"
        AuthUserFile /dev/null
        AuthBasicAuthoritative Off
        Require valid-user
        PythonPath "['{directory}/code'] + sys.path"
        PythonAuthenHandler guard::authen
    </Location>
</VirtualHost>
"""
OWN = """
from mod_python import apache


def handler(req):
    req.content_type = "text/plain"
    req.write("own " + apache.interpreter)
    return apache.OK


def other(req):
    req.write("other")
    return apache.OK


def access(req):
    return apache.OK if req.headers_in.get("X-Key") == "open" else apache.HTTP_FORBIDDEN
"""
HTACCESS = """
AddHandler mod_python .py .html
PythonHandler mod_python.publisher
PythonOption password "open sesame"
PythonDebug On
"""
PUBLISHED = """
import beside


def index(req, text="nothing"):
    return f"{beside.NAME} {text} {req.get_options().get('password')}"
"""
MODULES = (
    "authn_core",
    "authn_file",
    "authz_user",
    "auth_basic",
    "auth_digest",
    "cgi",
    "env",
    "dav",
    "dav_fs",
    "dav_lock",
)


def fill(directory, user):
    (directory / "code").mkdir()
    (directory / "code" / "guard.py").write_text(GUARD)
    for name in (
        "closed",
        "raising",
        "broken",
        "users",
        "groups",
        "app",
        "pages",
        "dav",
        "asking",
        "fixed",
        "served",
    ):
        (directory / "a" / name).mkdir(parents=True)
        (directory / "a" / name / "file.txt").write_text(name)
    (directory / "a" / "app" / "page.py").write_text(GUARD)
    (directory / "b").mkdir()
    (directory / "b" / "page.py").write_text(GUARD)
    (directory / "a" / "pages" / "own.py").write_text(OWN)
    published = directory / "a" / "published"
    published.mkdir()
    (published / "page.py").write_text(PUBLISHED)
    (published / "beside.py").write_text("NAME = 'beside'\n")
    (directory / "cgi").mkdir()
    (directory / "cgi" / "env").write_text(CGI)
    (directory / "cgi" / "env").chmod(0o755)
    repository = directory / "repos" / "r.git"
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    if user is not None:
        # git serves nobody else's
        os.chown(repository, user.pw_uid, user.pw_gid)
        os.chown(directory / "a" / "dav", user.pw_uid, user.pw_gid)
        os.chown(directory / "run", user.pw_uid, user.pw_gid)


@pytest.fixture(scope="module", params=SERVERS)
def shared(request, base):
    directory = base / f"moved-{request.param}"
    directory.mkdir()
    server = Moved(directory, request.param, SITE, modules=MODULES)
    fill(directory, server.work.user)
    text = HTACCESS
    if request.param == "mod_wsgi":
        text = server.convert(text, "--htaccess", directory / "a" / "published")
        for path in server.scripts.glob("option-*") if server.work.user else ():
            shutil.chown(path, group=server.work.user.pw_gid)
    (directory / "a" / "published" / ".htaccess").write_text(text)
    with server:
        yield server


@pytest.fixture
def moved(shared):
    yield from watched(shared)


def get(server, path, host="a.test", **headers):
    return server.request(path, headers={"Host": host, **headers})


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


FORBIDDEN = "AH01630|client denied|Client denied|AH02811|AH01276|AH00035|AH01797"


@pytest.mark.parametrize(
    "path",
    [
        *("/closed/file.txt", "/closed/", "/git/r.git/info/refs", "/pages/file.txt", "/pages/x.py"),
        *("/dav/file.txt", "/closed/none.txt"),
    ],
)
def test_access_handler_stands_in_front_of_other_content(moved, path):
    moved.expect(FORBIDDEN)
    assert get(moved, path).status == 403
    assert get(moved, path, **{"X-Key": "open"}).status != 403 or path == "/closed/"


def test_content_behind_an_access_handler_is_apaches_own(moved):
    key, depth = {"X-Key": "open"}, {"Host": "a.test", "Depth": "1"}
    assert get(moved, "/closed/file.txt", **key).body == b"closed"
    answer = get(moved, "/closed/file.txt", Range="bytes=1-2", **key)
    assert (answer.status, answer.body) == (206, b"lo")
    answer = get(moved, "/git/r.git/info/refs?service=git-upload-pack", **key)
    assert answer.headers["Content-Type"] == "application/x-git-upload-pack-advertisement"
    assert moved.request("/dav/", "PROPFIND", {**depth, **key}).status == 207
    moved.expect(FORBIDDEN)
    assert moved.request("/dav/", "PROPFIND", depth).status == 403


def test_handlers_of_extensions_behind_an_access_handler(moved):
    key = {"X-Key": "open"}
    assert get(moved, "/pages/x.py", **key).body == b"other"
    assert get(moved, "/pages/x.psp", **key).body == b"own a.test"
    assert get(moved, "/pages/file.txt", **key).body == b"pages"


def test_header_parser_stands_in_front_of_cgi(moved):
    moved.expect(FORBIDDEN)
    assert get(moved, "/cgi/env?no").status == 403
    answer = get(moved, "/cgi/env?yes")
    assert answer.status == 200
    assert b"sesame open" not in answer.body


@pytest.mark.parametrize("path", ["/raising/file.txt", "/broken/file.txt"])
def test_access_handler_that_fails_lets_nobody_in(moved, path):
    moved.expect(f"{FORBIDDEN}|of the handler|Traceback|File|Exception|error")
    answer = get(moved, path)
    assert answer.status in (403, 500)
    assert path[1:7].encode() not in answer.body


def test_authentication_handler_is_asked_for_files(moved):
    moved.expect("AH01617|AH01618|AH01614|AH01807")
    answer = get(moved, "/users/file.txt")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the site"'
    for user, password in (("ann", "wrong"), ("bob", "pa:ss"), ("", "")):
        answer = get(moved, "/users/file.txt", Authorization=basic(user, password))
        assert (answer.status, b"users" in answer.body) == (401, False)
    # nobody knows this one
    moved.expect("AH00027|AH01618|AH01796")
    answer = get(moved, "/users/file.txt", Authorization=basic("none", "x"))
    assert (answer.status, b"users" in answer.body) == (500, False)
    answer = get(moved, "/users/file.txt", Authorization=basic("ann", "pa:ss"))
    assert (answer.status, answer.body) == (200, b"users")


def test_access_handler_that_checks_passwords_is_given_them(moved):
    moved.expect("AH01617|AH01618|AH01614|AH01807|WSGI0057|Client denied|AH01629")
    path = "/asking/file.txt"
    assert get(moved, f"{path}?public").body == b"asking"
    answer = get(moved, path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the site"'
    assert get(moved, path, Authorization=basic("ann", "no")).status in (401, 403)
    assert get(moved, path, Authorization=basic("ann", "pa:ss")).body == b"asking"


def test_authorization_handler_is_asked_for_files(moved):
    moved.expect(
        "AH01617|AH01618|AH01614|AH01807|WSGI00|Authorization of user|AH01631|not a member"
    )
    right = basic("ann", "pa:ss")
    assert get(moved, "/groups/file.txt").status == 401
    assert get(moved, "/groups/file.txt", Authorization=basic("ann", "no")).status == 401
    assert get(moved, "/groups/file.txt?no", Authorization=right).status in (401, 403)
    answer = get(moved, "/groups/file.txt", Authorization=right)
    assert (answer.status, answer.body) == (200, b"groups"), moved.log()


@pytest.mark.parametrize("place", ["fixed", "served"])
def test_phase_may_redirect_where_the_runtime_answers(moved, place):
    answer = get(moved, f"/{place}/file.txt?go")
    assert answer.status == 302
    assert answer.headers["Location"].endswith("/closed/")


def test_fixup_handler_may_leave_a_file_or_give_it_to_another_handler(moved):
    assert get(moved, "/fixed/file.txt").body == b"fixed"
    assert get(moved, "/fixed/none.txt").status == 404
    assert b"guard.py a.test" in get(moved, "/fixed/file.txt?own").body
    assert b"guard.py a.test" in get(moved, "/served/file.txt").body


def test_published_pages_of_htaccess(moved):
    answer = get(moved, "/published/page.py?text=abcd")
    assert (answer.status, answer.body) == (200, b"beside abcd open sesame")
    assert get(moved, "/published/page.html").body == b"beside nothing open sesame"
    assert get(moved, "/published/page.py/nothing").status == 404


def test_handler_gets_its_options_and_the_interpreter_of_its_host(moved):
    answer = get(moved, "/app/x")
    place = moved.work.directory
    said = "[('db_password', 'sesame open'), ('plain', '1')]"
    assert answer.body.decode() == f"{place}/a/app/page.py a.test {said} None"


def test_hosts_with_modules_of_one_name_are_kept_apart(moved):
    place = moved.work.directory
    for _ in range(5):
        for host, directory in (("a.test", "a/app"), ("b.test", "b")):
            answer = get(moved, "/app/x" if host == "a.test" else "/x", host)
            assert answer.body.decode().startswith(f"{place}/{directory}/page.py {host} ")


def test_what_cannot_be_carried_over_is_closed(moved):
    if moved.server == "mod_python":
        return
    moved.expect(FORBIDDEN)
    for path in ("/", "/app/file.txt", "/closed/file.txt"):
        for header in ({}, {"Authorization": basic("ann", "pa:ss")}):
            assert get(moved, path, "closed.test", **header).status == 403
    assert moved.status == 3
    assert "AuthType Basic only, not digest" in moved.said
