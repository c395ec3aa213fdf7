"""Phases and redirects of requests that the runtime serves."""

import logging

import pytest

from handlers.mod_python import apache
from handlers.runtime import options
from tests.wsgi import named, page, returns, serve

BEFORE = {name[len("Python") : -len("Handler")]: name for name in options.BEFORE}


def phases(*content, **handlers):
    """Return the variables that configure handlers of phases, by the phase's short name."""
    variables = {f"Python{name}Handler": named(handler) for name, handler in handlers.items()}
    return variables | {"PythonHandler": named(*(content or (page,)))}


def test_phases_run_in_apaches_order():
    seen = []

    def note(result):
        def handler(req):
            seen.append((req.phase[6:-7], req.hlist.handler.startswith("handlers_of_test")))
            return result

        return handler

    declining = ("Trans", "Authen", "Authz", "Type")
    names = [*BEFORE, "Log", "Cleanup"]
    configured = {name: note(apache.DECLINED if name in declining else apache.OK) for name in names}
    answer = serve(**phases(**configured), REMOTE_USER="ann")
    assert answer.body == b"page PythonHandler ann"
    assert seen == [(name, True) for name in names]


@pytest.mark.parametrize("phase", BEFORE)
@pytest.mark.parametrize("result", [403, 404, 500, 302])
def test_status_of_an_earlier_phase_ends_the_request(phase, result):
    answer = serve(**phases(**{phase: returns(result)}))
    assert answer.status.startswith(f"{result} ")
    assert b"page PythonHandler" not in answer.body


@pytest.mark.parametrize("phase", BEFORE)
def test_server_return_of_an_earlier_phase_ends_the_request(phase):
    def refuse(req):
        raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)

    assert serve(**phases(**{phase: refuse})).status == "403 Forbidden"


@pytest.mark.parametrize("phase", BEFORE)
@pytest.mark.parametrize("fault", [lambda req: 1 / 0, returns(None), returns("403"), returns(True)])
def test_fault_of_an_earlier_phase_is_500(phase, fault, caplog):
    answer = serve(**phases(**{phase: fault}))
    assert answer.status == "500 Internal Server Error"
    assert f"Python{phase}Handler handlers_of_test" in caplog.text


@pytest.mark.parametrize("phase", [*BEFORE, "Log", "Cleanup"])
def test_module_of_a_phase_that_is_not_there_is_one_line(phase, caplog):
    configured = phases() | {f"Python{phase}Handler": "no_such_module_of_a_phase"}
    answers = [serve(**configured) for _ in range(2)]
    late = phase in ("Log", "Cleanup")
    assert {answer.status[:3] for answer in answers} == {"200" if late else "500"}
    (line,) = caplog.messages
    assert f"Python{phase}Handler no_such_module_of_a_phase: no module" in line


def test_done_of_an_earlier_phase_ends_what_it_has_written():
    def done(req):
        req.write("done", 0)
        return apache.DONE

    answer = serve(**phases(Access=done))
    assert (answer.status, answer.body) == ("200 OK", b"done")


@pytest.mark.parametrize(
    ("phase", "results", "runs"),
    [
        ("Access", (apache.OK, apache.DECLINED, apache.OK), 3),
        ("Access", (apache.OK, 403, apache.OK), 2),
        ("Fixup", (apache.DECLINED, apache.OK), 2),
        ("Trans", (apache.DECLINED, apache.OK, apache.OK), 2),
        ("Type", (apache.OK, apache.OK), 1),
    ],
)
def test_list_of_a_phase_goes_on_as_its_rules_say(phase, results, runs):
    ran = []

    def handler(result):
        def run(req):
            ran.append(result)
            return result

        return run

    serve(**phases() | {f"Python{phase}Handler": named(*map(handler, results))})
    assert ran == list(results[:runs])


# -- users ---------------------------------------------------------------------------------------

BASIC = {"PythonOption.mod_python.auth_type": "Basic", "PythonOption.mod_python.auth_name": "x y"}


def sign_in(req):
    req.user = "ann"
    return apache.OK


def check_password(req):
    password = req.get_basic_auth_pw()
    return apache.OK if (req.user, password) == ("user", "pass") else apache.HTTP_UNAUTHORIZED


def test_authen_handler_sets_the_user():
    assert serve(**phases(Authen=sign_in)).body == b"page PythonHandler ann"


def test_authen_handler_that_sets_no_user_is_500(caplog):
    assert serve(**phases(Authen=returns(apache.OK))).status == "500 Internal Server Error"
    assert "PythonAuthenHandler returned OK and has set no req.user" in caplog.text


def test_password_is_checked_and_asked_for():
    configured = phases(Authen=check_password) | BASIC
    answer = serve(**configured)
    assert (answer.status[:3], answer["WWW-Authenticate"]) == ("401", 'Basic realm="x y"')
    answer = serve(**configured, HTTP_AUTHORIZATION="Basic dXNlcjpuby4=")
    assert (answer.status[:3], answer["WWW-Authenticate"]) == ("401", 'Basic realm="x y"')
    answer = serve(**configured, HTTP_AUTHORIZATION="Basic dXNlcjpwYXNz")
    assert answer.body == b"page PythonHandler user"


def test_where_all_decline_nobody_gets_in(caplog):
    declined = phases(Authen=returns(apache.DECLINED))
    answer = serve(**declined, **BASIC)
    assert (answer.status[:3], answer["WWW-Authenticate"]) == ("401", 'Basic realm="x y"')
    assert serve(**declined).status[:3] == "500"
    assert "nobody else has authenticated the user" in caplog.text
    assert serve(**declined, REMOTE_USER="joe", AUTH_TYPE="Basic").body.endswith(b"joe")
    assert serve(**phases(Authz=returns(apache.DECLINED))).status[:3] == "403"


def test_authz_handler_decides_about_the_user():
    def only_bob(req):
        return apache.OK if req.user == "bob" else apache.HTTP_FORBIDDEN

    assert serve(**phases(Authen=sign_in, Authz=only_bob)).status[:3] == "403"
    declining = phases(Authen=sign_in, Authz=returns(apache.DECLINED))
    assert serve(**declining).body.endswith(b"ann")


# -- what phases change --------------------------------------------------------------------------


def test_trans_handler_gives_another_file(tmp_path):
    (tmp_path / "a.txt").write_text("text of a")
    (tmp_path / "sub").mkdir()

    def to_file(req):
        req.filename = str(tmp_path / "a.txt" / "more")
        return apache.OK

    def to_uri(req):
        req.uri = "/sub/none/x"
        return apache.DECLINED

    def show(req):
        req.content_type = "text/plain"
        req.write(repr((req.filename, req.path_info, req.finfo.filetype)), 0)
        return apache.OK

    answer = serve(**phases(show, Trans=to_file), SCRIPT_FILENAME="/x")
    assert answer.body.decode() == repr((f"{tmp_path}/a.txt", "/more", apache.APR_REG))
    answer = serve(**phases(show, Trans=to_uri), SCRIPT_FILENAME="/x", DOCUMENT_ROOT=str(tmp_path))
    assert answer.body.decode() == repr((f"{tmp_path}/sub/none", "/x", apache.APR_NOFILE))


def test_phase_sets_the_handler(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("text of a")

    def handler(word):
        def fixup(req):
            req.handler = word
            return apache.OK

        return fixup

    here = {"SCRIPT_FILENAME": str(tmp_path / "a.txt"), "mod_wsgi.request_handler": "mod_python"}
    assert serve(**phases(Fixup=returns(apache.OK)), **here).body.startswith(b"page")
    assert serve(**phases(Fixup=handler("default-handler")), **here).body == b"text of a"
    assert serve(**phases(Fixup=handler("cgi-script")), **here).status[:3] == "500"
    assert "cgi-script" in caplog.text
    here["mod_wsgi.request_handler"] = "python-phases"
    assert serve(**phases(Fixup=returns(apache.OK)), **here).body == b"text of a"
    assert serve(**phases(Fixup=handler("python-program")), **here).body.startswith(b"page")
    assert serve(**phases(), **here).body == b"text of a"


def test_handlers_are_added_to_this_request():
    seen = []

    def note(name):
        def handler(req):
            seen.append(name)
            return apache.OK

        return handler

    late, page_too, logged = named(note("late")), named(note("page")), named(note("log"))

    def access(req):
        req.add_handler("PythonAccessHandler", late)
        req.add_handler("PythonHandler", page_too, "/some/where")
        req.add_handler("PythonLogHandler", logged)
        req.add_handler("PythonTransHandler", late)
        return apache.OK

    configured = phases(Access=access)
    assert serve(**configured).status == "200 OK"
    assert seen == ["late", "page", "log"]
    seen.clear()

    def content(req):
        page(req)
        req.add_handler("PythonHandler", page_too)
        req.add_handler("PythonLogHandler", logged)
        return apache.OK

    for _ in range(2):
        assert serve(content).body == b"page PythonHandler None"
    assert seen == ["page", "log"] * 2


def test_handler_of_no_phase_cannot_be_added():
    def content(req):
        for phase in ("PythonNoneHandler", "PythonCleanupHandler", "handler"):
            with pytest.raises(IndexError):
                req.add_handler(phase, "x")
        with pytest.raises(ValueError, match="string"):
            req.add_handler("PythonHandler", 5)
        return page(req)

    assert serve(content).status == "200 OK"


def test_handler_module_has_those_phases_that_it_has(tmp_path, monkeypatch, caplog):
    (tmp_path / "all_phases_of_a_site.py").write_text(
        "from mod_python import apache\n"
        "def accesshandler(req):\n    req.seen = 'access'\n    return apache.OK\n"
        "def handler(req):\n"
        "    req.content_type = 'text/plain'\n    req.write(req.seen, 0)\n    return apache.OK\n"
        "def loghandler(req):\n    req.log_error('seen by the log')\n    return apache.OK\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    answer = serve(PythonHandler="", PythonHandlerModule="all_phases_of_a_site")
    assert answer.body == b"access"
    assert "seen by the log" in caplog.text


def test_log_and_cleanup_run_last_whatever_happens(caplog):
    caplog.set_level(logging.INFO)
    seen = []

    def fails(req):
        req.register_cleanup(lambda data: seen.append("registered"))
        raise ValueError("of the handler")

    def log(req):
        seen.append(("log", req.status))
        return apache.HTTP_FORBIDDEN

    def cleanup(req):
        seen.append("cleanup")
        raise ValueError("of the cleanup")

    assert serve(**phases(fails, Log=log, Cleanup=cleanup)).status[:3] == "500"
    assert seen == [("log", 500), "registered", "cleanup"]
    assert "of the cleanup" in caplog.text


# -- redirects within the server -----------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    """A function that serves an address of a directory of files."""
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (tmp_path / name).write_text(f"text of {name}")

    def get(content, **variables):
        return serve(
            content,
            SCRIPT_NAME="/files/a.txt",
            SCRIPT_FILENAME=str(tmp_path / "a.txt"),
            CONTEXT_PREFIX="/files",
            CONTEXT_DOCUMENT_ROOT=str(tmp_path),
            DOCUMENT_ROOT="/nowhere",
            **variables,
        )

    return get


@pytest.mark.parametrize("target", ["/files/sub/c.txt/more?x=1", "sub/c.txt/more?x=1"])
def test_redirect_within_the_server_runs_the_handlers_again(site, target):
    seen = []

    def content(req):
        if req.uri == "/files/a.txt":
            req.internal_redirect(target)
            seen.append(req.next.uri)
            return apache.OK
        req.content_type = "text/x-second"
        req.headers_out["X-Second"] = "yes"
        before = req.prev
        req.write(f"{req.uri} {req.args} {req.path_info} {before.uri} {req.status} {req.read()}", 0)
        return apache.OK

    answer = site(content, body=b"body", REQUEST_METHOD="POST")
    assert answer.body == b"/files/sub/c.txt/more x=1 /more /files/a.txt 200 b'body'"
    assert (answer["Content-Type"], answer["X-Second"]) == ("text/x-second", "yes")
    assert seen == ["/files/sub/c.txt/more"]


def test_redirect_ends_in_a_file_or_an_error(site):
    def to(target):
        def content(req):
            if req.prev is not None:
                return apache.DECLINED
            req.internal_redirect(target)
            return apache.OK

        return content

    assert site(to("/files/b.txt")).body == b"text of b.txt"
    assert site(to("/files/none")).status == "404 Not Found"
    # a section of the other directory may refuse what Apache was not asked about
    assert site(to("/files/sub/c.txt")).status == "403 Forbidden"


@pytest.mark.parametrize("target", ["/other/x", "/files/../etc/passwd", "/files/%2e%2e/x", "/"])
def test_redirect_out_of_the_section_is_500(site, target, caplog):
    def content(req):
        req.internal_redirect(target)
        return apache.OK

    assert site(content).status == "500 Internal Server Error"
    assert "no address of the section" in caplog.text


def test_redirect_out_of_the_handlers_directory_is_500(site, tmp_path, caplog):
    def content(req):
        req.internal_redirect("/files/b.txt")
        return apache.OK

    answer = site(content, **{"PythonHandler.directory": str(tmp_path / "sub") + "/"})
    assert answer.status == "500 Internal Server Error"
    assert "is outside of" in caplog.text


def test_directory_with_a_like_name_is_another(site, tmp_path, caplog):
    def content(req):
        req.internal_redirect("/files/sub/c.txt")
        return apache.OK

    assert site(content, **{"PythonHandler.directory": str(tmp_path / "su")}).status[:3] == "500"
    assert "is outside of" in caplog.text


def test_redirects_without_an_end_are_500(site, caplog):
    def content(req):
        req.internal_redirect("/files/a.txt")
        return apache.OK

    assert site(content).status == "500 Internal Server Error"
    assert "internal redirects in a row" in caplog.text


def test_redirect_to_a_directory_comes_after_the_phases(tmp_path):
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "file").write_text("x")
    variables = {
        **phases(Access=lambda req: 403 if req.args == "no" else apache.OK),
        "PythonDirectorySlash": "On",
        "SCRIPT_FILENAME": str(tmp_path / "sub dir"),
        "SCRIPT_NAME": "/a/sub dir",
        "PATH_INFO": "",
        "SERVER_NAME": "a.test",
        "SERVER_PORT": "80",
    }
    assert serve(**variables, QUERY_STRING="no").status.startswith("403")
    answer = serve(**variables, QUERY_STRING="b=c")
    assert answer.status.startswith("301")
    assert answer["Location"] == "http://a.test/a/sub%20dir/?b=c"
    for changed in (
        {"SCRIPT_NAME": "/a/sub dir/"},
        {"SCRIPT_FILENAME": str(tmp_path / "file")},
        {"PythonDirectorySlash": ""},
    ):
        assert serve(**{**variables, **changed}).status.startswith("200")
