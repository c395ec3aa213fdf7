"""Phases before content that mod_wsgi does not serve: what lets a request pass, and what not."""

import itertools
import os
import sys
import types

import pytest

from handlers.mod_python import apache
from handlers.runtime import options
from handlers.runtime.dispatch import HandlerError, HandlerMissing
from handlers.runtime.front import Front, Refused, import_at_start

_numbers = itertools.count()


def named(handler) -> str:
    """Return a text that names *handler*, a function that is the default one of each phase."""
    module = types.ModuleType(f"front_handler_{next(_numbers)}")
    module.__file__ = "here.py"
    for phase in options.BEFORE:
        setattr(module, phase.removeprefix("Python").lower(), handler)
    sys.modules[module.__name__] = module
    return module.__name__


def environ(url="/x/file.txt", **more) -> dict:
    """Return what mod_wsgi tells access and authentication scripts of a request."""
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": url,
        "SCRIPT_NAME": url,
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "DOCUMENT_ROOT": "/srv/www",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "mod_wsgi.version": (6, 0, 0),
        "mod_wsgi.application_group": "",
        "mod_ssl.is_https": lambda: 0,
        **more,
    }


def returning(result):
    return named(lambda req: result)


def raising(error):
    def handler(req):
        raise error

    return named(handler)


@pytest.mark.parametrize(
    ("result", "allowed"),
    [
        *((apache.OK, True), (apache.DECLINED, None), (apache.DONE, False), (403, False)),
        *((401, False), (302, False), (404, False), (500, False), (200, False), (1, False)),
    ],
)
def test_only_ok_and_declined_let_a_request_pass(result, allowed):
    front = Front.of(PythonAccessHandler=returning(result))
    assert front.allow_access(environ()) is allowed


@pytest.mark.parametrize("result", [None, "OK", True, 0.0])
def test_result_that_is_no_int_is_an_error(result):
    with pytest.raises(HandlerError) as found:
        Front.of(PythonAccessHandler=returning(result)).allow_access(environ())
    assert isinstance(found.value.__cause__, TypeError)


def test_error_of_a_handler_is_one():
    with pytest.raises(HandlerError) as found:
        Front.of(PythonAccessHandler=named(lambda req: 1 // 0)).allow_access(environ())
    assert isinstance(found.value.__cause__, ZeroDivisionError)
    with pytest.raises(HandlerMissing):
        Front.of(PythonAccessHandler="no_module_of_this_name").allow_access(environ())


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [((apache.OK,), True), ((403,), False), ((apache.DONE, 302), False)],
)
def test_result_may_be_raised(arguments, allowed):
    front = Front.of(PythonAccessHandler=raising(apache.SERVER_RETURN(*arguments)))
    assert front.allow_access(environ()) is allowed


def test_every_phase_may_refuse():
    for phase in ("PostReadRequest", "Trans", "Init", "HeaderParser", "Access", "Type", "Fixup"):
        front = Front.of(**{f"Python{phase}Handler": returning(403)})
        assert front.allow_access(environ()) is False


def test_handlers_of_a_phase_run_while_their_results_let_it_go_on():
    ok, no, declined = returning(apache.OK), returning(403), returning(apache.DECLINED)
    assert Front.of(PythonAccessHandler=f"{ok} {no}").allow_access(environ()) is False
    assert Front.of(PythonAccessHandler=f"{declined} {no}").allow_access(environ()) is False
    assert Front.of(PythonAccessHandler=f"{no} {ok}").allow_access(environ()) is False
    assert Front.of(PythonAccessHandler=f"{ok} {declined}").allow_access(environ()) is None
    # these two phases end with the first OK
    for phase in ("PythonTransHandler", "PythonTypeHandler"):
        assert Front.of(**{phase: f"{ok} {no}"}).allow_access(environ()) is True
        assert Front.of(**{phase: f"{declined} {no}"}).allow_access(environ()) is False


def test_handlers_of_an_extension_stand_for_the_others():
    text = f"{returning(apache.OK)} ; {returning(403)} | .txt .tar.gz"
    front = Front.of(PythonAccessHandler=text)
    assert front.allow_access(environ("/x.txt")) is False
    assert front.allow_access(environ("/x.html")) is True
    # the extension is the name from its first dot on
    assert front.allow_access(environ("/x.tar.gz")) is False
    assert front.allow_access(environ("/x.old.txt")) is True
    only = Front.of(PythonAccessHandler=f"{returning(403)} | .txt", PythonAuthzHandler="x | .txt")
    assert only.allow_access(environ("/x.html")) is None
    assert only.groups_for_user(environ("/x.html"), "ann") == ["mod_python"]


@pytest.fixture
def two_places(tmp_path):
    """Return two directories with a module guard in each, whose handlers differ."""
    source = (
        "from mod_python import apache\n\n\nclass Guard:\n    def __init__(self, req):\n"
        "        self.uri = req.uri\n\n    def check(self, req):\n"
        "        return RESULT if self.uri == req.uri else 500\n\n\n"
        "def accesshandler(req):\n    return RESULT\n\n\n"
        "def headerparserhandler(req):\n    return 403 if req.args == 'no' else RESULT\n\n\n"
        "def authenhandler(req):\n    req.get_basic_auth_pw()\n    return RESULT or 401\n\n\n"
        "def authzhandler(req):\n    return RESULT\n"
    )
    directories = [str(tmp_path / name) for name in ("yes", "no")]
    for directory, result in zip(directories, ("apache.OK", "apache.HTTP_FORBIDDEN"), strict=True):
        os.mkdir(directory)
        with open(f"{directory}/two_guards.py", "w") as file:
            file.write(source.replace("RESULT", result))
    before = list(sys.path)
    yield directories
    sys.path[:] = before
    sys.modules.pop("two_guards", None)


def in_directory(directory, **settings):
    return Front([{"where": [], "set": settings, "directory": directory}])


@pytest.mark.parametrize(
    "spec", ["two_guards", "two_guards::accesshandler", "two_guards::Guard.check"]
)
def test_modules_of_one_name_are_kept_apart_by_directory(two_places, spec):
    yes, no = (in_directory(one, PythonAccessHandler=spec) for one in two_places)
    for _ in range(2):
        assert yes.allow_access(environ()) is True
        assert no.allow_access(environ()) is False
    paths = (f"[{one!r}] + sys.path" for one in two_places)
    yes, no = (Front.of(PythonAccessHandler=spec, PythonPath=path) for path in paths)
    for _ in range(2):
        assert yes.allow_access(environ()) is True
        assert no.allow_access(environ()) is False


def test_module_has_the_handlers_of_all_phases(two_places):
    yes, no = (in_directory(one, PythonHandlerModule="two_guards") for one in two_places)
    assert yes.allow_access(environ()) is True
    assert yes.allow_access(environ(QUERY_STRING="no")) is False
    assert no.allow_access(environ()) is False
    assert yes.groups_for_user(environ(), "ann") == ["mod_python"]
    assert no.groups_for_user(environ(), "ann") == []
    # without handlers of these phases
    lacking = Front.of(PythonHandlerModule="colorsys")
    assert lacking.allow_access(environ()) is None
    assert lacking.check_password(environ(), "a", "b") is None
    assert lacking.groups_for_user(environ(), "ann") == ["mod_python"]


def test_phases_share_the_request_and_may_add_to_later_ones():
    def early(req):
        req.note = "seen"
        req.add_handler("PythonAccessHandler", late)
        return apache.OK

    late = named(lambda req: 403 if req.note == "seen" else apache.OK)
    assert Front.of(PythonHeaderParserHandler=named(early)).allow_access(environ()) is False


@pytest.mark.parametrize(
    ("where", "url", "matches"),
    [
        ([["directory", "/srv/www/x"]], "/x/file.txt", True),
        ([["directory", "/srv/www/x"]], "/xy/file.txt", False),
        ([["directory", "/srv/*/x"]], "/x/file.txt", True),
        ([["directory", "/srv/*"]], "/x/file.txt", True),
        ([["directory", "/*/x"]], "/x/file.txt", False),
        ([["directory", "/srv/alias"]], "/other/y", True),
        ([["directorymatch", "^/srv/www/x/"]], "/x/file.txt", True),
        ([["directorymatch", "y"]], "/x/file.txt", False),
        ([["location", "/"]], "/x/file.txt", True),
        ([["location", "/x"]], "/x/file.txt", True),
        ([["location", "/x/"]], "/x/file.txt", True),
        ([["location", "/x/"]], "/x", False),
        ([["location", "/x"]], "/xy", False),
        ([["location", "/*/file.txt"]], "/x/file.txt", True),
        ([["locationmatch", r"\.txt$"]], "/x/file.txt", True),
        ([["files", "*.txt"]], "/x/file.txt", True),
        ([["files", "file"]], "/x/file.txt", False),
        ([["filesmatch", "^f"]], "/x/file.txt", True),
        ([["directory", "/srv/www"], ["files", "*.html"]], "/x/file.txt", False),
        ([], "/x/file.txt", True),
    ],
)
def test_section_holds_for_its_requests(where, url, matches):
    layer = {"where": where, "set": {"PythonAccessHandler": returning(403)}}
    front = Front([layer], [["/other", "/srv/alias"]])
    assert front.allow_access(environ(url)) is (False if matches else None)


def test_later_section_overrides_and_the_refused_one_refuses():
    yes, no = returning(apache.OK), returning(403)
    layers = [
        {"where": [], "set": {"PythonAccessHandler": no}},
        {"where": [["location", "/open"]], "set": {"PythonAccessHandler": yes}},
        {"where": [["location", "/open/not"]], "set": {"refused": "1"}},
    ]
    front = Front(layers)
    assert front.allow_access(environ("/x")) is False
    assert front.allow_access(environ("/open/x")) is True
    assert front.allow_access(environ("/open/not")) is False
    assert front.check_password(environ("/open/not"), "a", "b") is False
    assert front.groups_for_user(environ("/open/not"), "a") == []


def test_handler_sees_the_request_and_its_options():
    seen = {}

    def handler(req):
        seen.update(
            uri=req.uri, filename=req.filename, options=dict(req.get_options()), phase=req.phase
        )
        return apache.OK

    layer = {"where": [], "set": {"PythonAccessHandler": named(handler), "PythonOption.a": "1"}}
    Front([layer], [["/x", "/else"]]).allow_access(environ())
    assert seen == {
        "uri": "/x/file.txt",
        "filename": "/else/file.txt",
        "options": {"a": "1"},
        "phase": "PythonAccessHandler",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda req: setattr(req, "filename", "/etc/passwd"),
        lambda req: setattr(req, "uri", "/other"),
        lambda req: setattr(req, "handler", "mod_python"),
        lambda req: setattr(req, "content_type", "text/x"),
        lambda req: req.add_handler("PythonAuthenHandler", "x"),
        lambda req: req.add_handler("PythonAccessHandler", "x"),
        lambda req: req.internal_redirect("/x"),
        lambda req: req.read(),
    ],
)
def test_change_that_apache_is_not_told_of_refuses(change):
    def handler(req):
        change(req)
        return apache.OK

    with pytest.raises((Refused, HandlerError)) as found:
        Front.of(PythonFixupHandler=named(handler)).allow_access(environ(CONTENT_LENGTH="4"))
    assert isinstance(found.value, Refused) or isinstance(found.value.__cause__, Refused)


def test_header_that_cannot_be_sent_is_one_line(caplog):
    def handler(req):
        req.headers_out["Set-Cookie"] = "a=b"
        return apache.OK

    front = Front.of(PythonAccessHandler=named(handler))
    assert [front.allow_access(environ()) for _ in range(3)] == [True] * 3
    assert caplog.text.count("has set header fields") == 1


def test_redirect_is_refused_and_one_line(caplog):
    front = Front.of(PythonAccessHandler=returning(302))
    assert [front.allow_access(environ()) for _ in range(3)] == [False] * 3
    assert caplog.text.count("returned 302") == 1


def checking(result):
    def handler(req):
        password = req.get_basic_auth_pw()
        return result if (req.user, password) == ("änn", "pä:ss") else apache.HTTP_UNAUTHORIZED

    return Front.of(PythonAuthenHandler=named(handler))


@pytest.mark.parametrize(
    ("result", "answer"),
    [(apache.OK, True), (apache.DECLINED, None), (401, False), (403, False), (500, False)],
)
def test_password_is_right_if_the_handler_says_ok(result, answer):
    # mod_wsgi hands over bytes as Latin-1
    user, password = ("änn".encode().decode("latin-1"), "pä:ss".encode().decode("latin-1"))
    assert checking(result).check_password(environ(), user, password) is answer
    assert checking(apache.OK).check_password(environ(), user, "wrong") is False


def test_access_handler_may_check_a_password_that_was_asked_for():
    def access(req):
        password = req.get_basic_auth_pw()
        if password is None:
            return apache.OK if req.args == "public" else apache.HTTP_UNAUTHORIZED
        return apache.OK if (req.user, password) == ("ann", "x") else apache.HTTP_FORBIDDEN

    settings = {"PythonAccessHandler": named(access), "asking": "1"}
    front = Front([{"where": [], "set": settings}])
    assert front.allow_access(environ()) is False
    assert front.allow_access(environ(QUERY_STRING="public")) is True
    assert front.check_password(environ(), "ann", "x") is True
    assert front.check_password(environ(), "ann", "y") is False
    # without the flag nobody asks it
    assert Front.of(PythonAccessHandler=named(access)).check_password(environ(), "ann", "x") is None
    # a handler that lets everybody in names nobody
    settings["PythonAccessHandler"] = returning(apache.OK)
    assert Front([{"where": [], "set": settings}]).check_password(environ(), "a", "b") is False


def test_user_may_get_another_name_and_must_have_one():
    def rename(req):
        req.user = "other"
        return apache.OK

    front = Front.of(PythonAuthenHandler=named(rename))
    assert front.check_password(environ(), "a", "b") == "other"
    with pytest.raises(Refused, match=r"no req\.user"):
        Front.of(PythonAuthenHandler=returning(apache.OK)).check_password(environ(), "a", "b")


def test_user_is_in_the_group_if_the_handler_accepts():
    def authz(req):
        return apache.OK if req.user == "ann" else apache.HTTP_FORBIDDEN

    front = Front.of(PythonAuthzHandler=named(authz))
    assert front.groups_for_user(environ(), "ann") == ["mod_python"]
    assert front.groups_for_user(environ(), "bob") == []
    assert Front.of().groups_for_user(environ(), "ann") == []
    declined = Front.of(PythonAuthzHandler=returning(apache.DECLINED))
    assert declined.groups_for_user(environ(), "ann") == ["mod_python"]


def test_without_handlers_nothing_is_decided():
    assert Front.of().allow_access(environ()) is None
    assert Front.of().check_password(environ(), "a", "b") is None


def test_module_is_imported_at_the_start_of_a_child(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "imported_at_start.py").write_text(
        "calls = []\n\n\ndef function():\n    calls.append(1)\n"
    )
    import_at_start("imported_at_start", f"[{str(tmp_path)!r}] + sys.path")
    assert sys.modules["imported_at_start"].calls == []
    import_at_start("imported_at_start::function")
    assert sys.modules["imported_at_start"].calls == [1]
    with pytest.raises(ModuleNotFoundError):
        import_at_start("not_imported_at_start")
