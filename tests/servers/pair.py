"""The runtime on mod_wsgi beside real mod_python, with the handlers of tests/oracle on both.

Where mod_python is not installed, what it answered is read from a recording.
"""

import json
import os
import pathlib
import re
import shutil
import time
import urllib.parse
from typing import NamedTuple

from tests.servers.httpd import Answer, Httpd, has_mod_python, make_images_table
from tests.servers.recording import OF_THE_SERVER, RealServer, RecordedServer, Recording

HANDLERS = pathlib.Path(__file__).parent.parent / "oracle"
FILE = b"".join(b"line %04d\n" % number for number in range(5000))
MTIME = 1_700_000_000
# directories of tests/oracle that a handler of mod_python's own serves
_TREES = {
    "published": "mod_python.publisher",
    "pages": "mod_python.psp",
    "scripts": "mod_python.cgihandler",
}
_APPLICATIONS = ("application", "accepted", "writing", "failing", "nothing")
# the directives of a directory, and the functions of oracle.phases that they name
PHASES = {
    "ok": {"HeaderParser": "ok", "Access": "ok", "Fixup": "ok"},
    "declined": {"HeaderParser": "declined", "Access": "declined", "Fixup": "declined"},
    "going-on": {"Access": "ok declined ok", "Fixup": "declined ok"},
    "refused": {"Access": "ok forbid ok"},
    "refused-first": {"HeaderParser": "forbid", "Access": "fault"},
    "raised": {"Access": "raises"},
    "unauthorized": {"Access": "unauthorized"},
    "redirected": {"Fixup": "redirect"},
    "done": {"Access": "done"},
    "written": {"Access": "writes"},
    "fault": {"Access": "fault"},
    "no-number": {"Fixup": "no_number"},
    "fixed": {"Fixup": "field"},
    "fixed-error": {"Fixup": "field", "": "forbid"},
    "added": {"Access": "adds"},
    "logged": {"Log": "forbid", "Cleanup": "ok"},
    "signed-in": {"Authen": "sign_in"},
    "user-first": {"Authen": "declined sign_in forbid"},
    "user-missing": {"Authen": "ok"},
    "user-declined": {"Authen": "declined"},
    "user-refused": {"Authen": "unauthorized"},
    "password": {"Authen": "password"},
    "member": {"Authen": "sign_in", "Authz": "ok"},
    "member-declined": {"Authen": "sign_in", "Authz": "declined"},
    "member-refused": {"Authen": "sign_in", "Authz": "forbid"},
    "filtered": {"": "behind_filter"},
    "elsewhere": {"": "elsewhere"},
}
_LISTS = {
    "default": ("oracle.chain", ""),
    "both": ("oracle.chain::first oracle.chain::second", ""),
    "declined": ("oracle.chain::first oracle.chain::declining oracle.chain::second", ""),
    "declined-first": ("oracle.chain::declining oracle.chain::second", ""),
    "done": ("oracle.chain::done oracle.chain::second", ""),
    "error": ("oracle.chain::first oracle.chain::missing oracle.chain::second", ""),
    "error-first": ("oracle.chain::missing oracle.chain::second", ""),
    "returning": ("oracle.chain::returning oracle.chain::second", ""),
    "method": ("oracle.chain::Page.show", ""),
    "object": ("oracle.chain::page.show", ""),
    "no-object": ("oracle.chain::nobody", ""),
    "none": ("oracle.chain::nothing", ""),
    "never": ("oracle.chain::done oracle.nothing::handler", ""),
    "no-module": ("oracle.nothing::handler", ""),
    "no-attribute": ("oracle.chain::page.nothing", ""),
    "extension": ("oracle.chain::extension", ".txt .html"),
}


def quoted(value) -> str:
    """Return text, or other values as JSON, in the form of a query."""
    return urllib.parse.quote(value if isinstance(value, str) else json.dumps(value))


class Pair(NamedTuple):
    """The two servers, and a directory of files that both serve as ``/o``."""

    ours: Httpd
    real: RealServer | RecordedServer
    files: pathlib.Path

    def ask(self, path, method="GET", headers=None, body=None) -> tuple[Answer, Answer]:
        """Send one request to both; return the answers of the runtime and of mod_python."""
        return tuple(server.request(path, method, headers, body) for server in self.servers)

    def same(self, path, method="GET", headers=None, body=None, but=()) -> Answer:
        """Send one request to both, assert that they answer the same, and return the answer.

        Of error pages only the title is compared.

        :param but: names, in lower case, of header fields that are not compared.
        """
        ours, real = self.ask(path, method, headers, body)
        assert ours.status == real.status, (ours, real)
        assert fields(ours, but) == fields(real, but)
        assert essence(ours) == essence(real)
        return ours

    @property
    def servers(self) -> tuple[Httpd, RealServer | RecordedServer]:
        """The runtime's server and the real one."""
        return self[:2]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for server in self.servers:
            server.stop()

    def watched(self):
        """Yield the pair, then assert that no log has an unannounced error."""
        for server in self.servers:
            server.begin_test()
        yield self
        for server in self.servers:
            complaints = server.complaints()
            assert not complaints, f"unannounced on {server.server}:\n" + "\n".join(complaints)

    def expect(self, pattern: str) -> None:
        """Announce lines in the error logs."""
        for server in self.servers:
            server.expect(pattern)

    def logged(self, pattern: str, count: int = 1) -> list[list[str]]:
        """Wait until *pattern* is in both logs *count* times; return what each server has of it."""
        return [_wait_for(server, pattern, count) for server in self.servers]


def fields(answer: Answer, but=()) -> list[tuple[str, str]]:
    """Return the header fields that two servers must agree on, sorted."""
    left_out = (*OF_THE_SERVER, *but)
    if _is_page(answer):
        left_out += ("content-length",)
    found = ((name.lower(), value) for name, value in answer.headers.items())
    return sorted(field for field in found if field[0] not in left_out)


def essence(answer: Answer):
    """Return the body, or the titles of the pages in it."""
    if b"<title>" in answer.body:
        body, _, _ = answer.body.partition(b"<!DOCTYPE")
        return body, re.findall(b"<title>(.*)</title>", answer.body)
    return answer.body


def copy_handlers(directory: pathlib.Path) -> None:
    """Make a *directory* with the package ``oracle`` that Apache's user can read.

    The checkout may lie in a directory that this user may not enter.
    """
    ignored = shutil.ignore_patterns("__pycache__", "*.json")
    shutil.copytree(HANDLERS, directory / "oracle", ignore=ignored)


def start_pair(directory: pathlib.Path, pictures, recording: Recording, renew: bool) -> Pair:
    """Start both servers in *directory*, or ours alone if mod_python is not installed.

    :param renew: write mod_python's answers into *recording* instead of comparing them with it.
    """
    files = directory / "files"
    copy_handlers(directory / "python")
    root, rows = pictures
    url = make_images_table(directory / "images.db", rows)

    def options(server):
        return {"children": 3, "extra": _configuration(server, files, directory / "python")}

    ours = Httpd(directory / "mod_wsgi", "mod_wsgi", url, root, **options("mod_wsgi"))
    place = directory / "mod_python"
    if has_mod_python():
        checked = {"recording": recording, "renew": renew}
        real = RealServer(place, url, root, **checked, **options("mod_python"))
        real.start()
    else:
        real = RecordedServer(place, recording)
    ours.start()
    return Pair(ours, real, files)


def start_with_request_rec(directory: pathlib.Path, pictures, recording: Recording) -> Pair:
    """Start the runtime's server with ``mod_python.request_rec on``, beside the recording."""
    files = directory / "files"
    copy_handlers(directory / "python")
    root, rows = pictures
    extra = _configuration("mod_wsgi", files, directory / "python")
    extra += "\nWSGIPassApacheRequest On\nSetEnv PythonOption.mod_python.request_rec on\n"
    url = make_images_table(directory / "images.db", rows)
    ours = Httpd(directory / "mod_wsgi", "mod_wsgi", url, root, extra=extra)
    ours.start()
    return Pair(ours, RecordedServer(directory / "mod_python", recording), files)


def _is_page(answer):
    return answer.status >= 300 and answer.headers.get("Content-Type", "").startswith("text/html")


def _wait_for(server, pattern, count):
    deadline = time.monotonic() + 90
    while len(found := re.findall(pattern, server.log())) < count:
        assert time.monotonic() < deadline, (server.server, pattern, server.log())
        time.sleep(0.01)
    return found


def _configuration(server, files, python):
    lists = {
        f"lists/{name}": (f"{handlers} | {extensions}" if extensions else handlers)
        for name, (handlers, extensions) in _LISTS.items()
    }
    lists["debug"] = "oracle.returns::fault"
    lists["options/inner"] = "oracle.questions::ask"
    lists["error-document"] = "oracle.returns::result"
    lists |= _probes()
    for name in (*lists, "grüße"):
        _make_files(files / name)
    for name in _TREES:
        shutil.copytree(python / "oracle" / name, files / name, dirs_exist_ok=True)
    lists |= _TREES
    for name in _APPLICATIONS:
        lists[f"applications/{name}"] = "mod_python.wsgi"
        (files / "applications" / name).mkdir(parents=True, exist_ok=True)
    path = f"['{python}'] + sys.path"
    sections = [
        "LogLevel debug",
        "Define ORACLE",
        # as Apache has it by default
        "TraceEnable on",
        *(
            f"LoadModule {name}_module ${{HANDLERS_MODULES}}/mod_{name}.so"
            for name in ("authn_core", "auth_basic", "authz_user")
        ),
        f'DocumentRoot "{files / "grüße"}"',
        f'Alias /o "{files}"',
        f'<Directory "{files}">\nRequire all granted\nSetHandler mod_python',
        "SetEnv ORACLE_VARIABLE set",
        # the one in which the package has put its modules in the place of mod_python's
        "PythonInterpreter main_interpreter" if server == "mod_python" else "",
        _directive(server, "PythonPath", path),
        *(_option(server, *option) for option in (("oracle.kept", "outer"), ("other", "a b"))),
        *(_option(server, f"oracle.{name}", "outer") for name in ("changed", "removed")),
        "</Directory>",
    ]
    for name, handlers in lists.items():
        sections.append(f'<Directory "{files / name}">')
        sections.append(_directive(server, "PythonHandler", handlers))
        if name.startswith("own/") or handlers.startswith("mod_python."):
            sections.append("PythonInterpreter own" if server == "mod_python" else "")
        if name.startswith("applications/"):
            application = f"oracle.{name.replace('/', '::')}"
            sections.append(_option(server, "mod_python.wsgi.application", application))
            sections.append(_option(server, "mod_python.wsgi.base_uri", f"/o/{name}"))
        if name == "debug":
            sections.append("SetEnv PythonDebug On" if server == "mod_wsgi" else "PythonDebug On")
        if name == "error-document":
            sections.append('ErrorDocument 404 "of the ErrorDocument"')
        if name == "addresses/password":
            sections.append('AuthType Basic\nAuthName "x y"')
            sections.append(_option(server, "mod_python.auth_name", "x y"))
        if name in ("addresses/password", "addresses/option_only"):
            sections.append(_option(server, "mod_python.auth_type", "Basic"))
        if name == "options/inner":
            sections.append(_option(server, "oracle.changed", "inner"))
            sections.append(_option(server, "oracle.removed", ""))
        sections.append("</Directory>")
    for name, handlers in PHASES.items():
        sections += _phases(server, files / "phases" / name, handlers)
    sections += [
        "<Location /location>\nSetHandler mod_python",
        "PythonInterpreter main_interpreter" if server == "mod_python" else "",
        _directive(server, "PythonHandler", "oracle.addresses::file_names"),
        _directive(server, "PythonPath", path),
        "</Location>",
    ]
    return "\n".join(sections)


def _phases(server, directory, handlers):
    _make_files(directory)
    yield f'<Directory "{directory}">'
    for phase, names in {"": "content", **handlers}.items():
        listed = " ".join(f"oracle.phases::{name}" for name in names.split())
        yield _directive(server, f"Python{phase}Handler", listed)
    if "Authen" in handlers:
        yield 'AuthType Basic\nAuthName "x y"'
        # mod_wsgi calls no handler for a user whom Apache has not let in
        yield "Require valid-user" if server == "mod_python" else "Require all granted"
        yield _option(server, "mod_python.auth_type", "Basic")
        yield _option(server, "mod_python.auth_name", "x y")
    yield "</Directory>"


def _probes():
    probes = {}
    for path in sorted(HANDLERS.glob("*.py")):
        if path.stem in ("__init__", "answers", "applications", "chain", "phases"):
            continue
        source = path.read_text()
        for name in re.findall(r"^def ([a-z]\w*)\(req\):", source, re.MULTILINE):
            probes[f"{path.stem}/{name}"] = f"oracle.{path.stem}::{name}"
    return probes


def _make_files(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("file.txt", "page.html", "noext", "two.x.txt", "grüße und.txt"):
        (directory / name).write_bytes(FILE)
        (directory / name).chmod(0o644)
        os.utime(directory / name, (MTIME, MTIME))
    (directory / "beside.py").write_text("WHERE = 'beside'\n")
    os.utime(directory, (MTIME, MTIME))


def _directive(server, name, value):
    if server == "mod_wsgi":
        return f'SetEnv {name} "{value}"'
    # handlers are words, PythonPath one text
    return f"{name} {value}" if name.endswith("Handler") else f'{name} "{value}"'


def _option(server, key, value):
    if server == "mod_wsgi":
        return f'SetEnv PythonOption.{key} "{value}"'
    return f'PythonOption {key} "{value}"' if value else f"PythonOption {key}"
