"""Apache configurations written in Python: ``from mod_python import httpdconf``.

There is a class for each directive; ``str`` of an object is the configuration, ``repr`` the Python
that makes it::

    print(Container(Listen("8000"), VirtualHost("*", DocumentRoot("/srv/www"))))

What works in another way than in mod_python: :func:`write_basic_config` writes a configuration for
mod_wsgi with this package, which loads only the modules that are there; its lists cannot be changed
by one call for the next; and ``SetEnv``, ``WSGIHandlerScript``, ``WSGIScriptReloading``, ``User``
and ``Group`` are directives, too.
"""

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import sys

# named by only_if
from . import __name__ as _package
from . import version

_MODULES = (
    *("authn_file", "authn_core", "authz_host", "authz_groupfile", "authz_user", "authz_core"),
    *("access_compat", "auth_basic", "reqtimeout", "include", "filter", "mime", "log_config"),
    *("env", "headers", "setenvif", "version", "unixd", "status", "autoindex", "dir", "alias"),
    "mpm_prefork",
)
_DIRECTIVES = (
    *("AddHandler", "AddOutputFilter", "AddType", "AuthBasicAuthoritative", "AuthBasicProvider"),
    *("AuthType", "AuthName", "CustomLog", "DirectoryIndex", "DocumentRoot", "ErrorLog"),
    *("KeepAliveTimeout", "Listen", "LoadModule", "LogLevel", "LogFormat", "LockFile"),
    *("MaxConnectionsPerChild", "MaxClients", "MaxRequestsPerChild", "MaxSpareServers"),
    *("MaxSpareThreads", "MaxThreadsPerChild", "MinSpareThreads", "Mutex", "NameVirtualHost"),
    *("NumServers", "Options", "PidFile", "PythonAuthenHandler", "PythonAuthzHandler"),
    *("PythonCleanupHandler", "PythonConnectionHandler", "PythonDebug", "PythonHandler"),
    *("PythonAccessHandler", "PythonPostReadRequestHandler", "PythonTransHandler"),
    *("PythonFixupHandler", "PythonImport", "PythonPath", "PythonOutputFilter", "PythonOption"),
    *("Require", "SetHandler", "ServerAdmin", "ServerName", "ServerPath", "ServerRoot"),
    *("StartServers", "StartThreads", "ThreadsPerChild", "Timeout", "TypesConfig"),
    *("PythonInterpPerDirectory", "PythonInterpPerDirective"),
    *("Group", "SetEnv", "User", "WSGIHandlerScript", "WSGIScriptReloading"),
)
_SECTIONS = ("Directory", "Files", "IfModule", "Location", "VirtualHost")
_USER = "www-data"
_NO_DEFAULT = object()
_DEFAULTS = dict.fromkeys(("PythonInterpPerDirectory", "PythonInterpPerDirective"), "Off")
# in the values of these a backslash is none of a path
_KEEP_BACKSLASHES = ("LogFormat", "PythonPath", "SetEnv")
_ENTRY_SCRIPT = """import site

site.addsitedir({packages!r})

from handlers.mod_python import install_as_mod_python
from handlers.runtime.entry import handle_request  # noqa: F401 - mod_wsgi calls it

install_as_mod_python()
"""
"""The entry script that a basic configuration names."""

__all__ = [
    "Comment",
    "Container",
    "ContainerTag",
    "Directive",
    "quote_if_space",
    "write_basic_config",
    *_DIRECTIVES,
    *_SECTIONS,
]


class Directive:
    """A directive of Apache's.

    :param flipslash: write backslashes as slashes.
    """

    def __init__(self, name, val, flipslash=1):
        self.name = name
        self.val = val
        self.indent = 0
        self.flipslash = flipslash

    def __repr__(self):
        return " " * self.indent + self._flipped(f"{self.name}({self.val!r})")

    def __str__(self):
        return " " * self.indent + self._flipped(f"{self.name} {self.val}\n")

    def _flipped(self, text):
        return text.replace("\\", "/") if self.flipslash else text


class Container:
    """Directives, sections and comments, one after the other.

    :param only_if: a Python expression, which may name ``mod_python`` and ``sys``; unless it is
        true the container is empty.
    """

    def __init__(self, *args, **kwargs):
        self.args = list(args)
        self.indent = 0
        self.only_if = kwargs.get("only_if")

    def append(self, value):
        """Append *value*.

        :raises TypeError: if it is no directive, container, section or comment.
        """
        if not isinstance(value, (Directive, Container, ContainerTag, Comment)):
            raise TypeError("a Directive, Container, ContainerTag or Comment is required")
        self.args.append(value)

    def __repr__(self):
        lead = " " * self.indent
        end = f"    only_if={self.only_if!r})" if self.only_if else ")"
        return f"{lead}Container({_listed(self.args, self.indent + 4)}\n{lead}{end}"

    def __str__(self):
        if self.only_if and not _holds(self.only_if):
            return ""
        return _written(self.args, self.indent)


class ContainerTag:
    """A section: ``<tag attr>`` with directives in it.

    :param flipslash: write backslashes of *attr* as slashes.
    """

    def __init__(self, tag, attr, args, flipslash=1):
        self.tag = tag
        self.attr = attr
        self.args = args
        self.indent = 0
        self.flipslash = flipslash

    def __repr__(self):
        lead = " " * self.indent
        begin = f"{self.tag}({self.attr!r},"
        return f"{lead}{self._flipped(begin)}{_listed(self.args, self.indent + 4)}\n{lead})"

    def __str__(self):
        lead = " " * self.indent
        begin = self._flipped(f"<{self.tag} {self.attr}>\n")
        return f"{lead}{begin}{_written(self.args, self.indent + 2)}{lead}</{self.tag}>\n"

    def _flipped(self, text):
        return text.replace("\\", "/") if self.flipslash else text


class Comment:
    """A comment of one or more lines."""

    def __init__(self, comment):
        self.comment = comment
        self.indent = 0

    def __repr__(self):
        lead = " " * self.indent
        lines = [repr(f"{line}\n") for line in self.comment.splitlines() or [""]]
        return f"{lead}Comment(" + f"\n{lead}        ".join(lines) + ")"

    def __str__(self):
        lead = " " * self.indent
        return "".join(f"{lead}# {line}\n" for line in self.comment.splitlines())


def quote_if_space(s: str) -> str:
    """Return *s* in double quotes if there is a space in it."""
    return f'"{s}"' if " " in s else s


def write_basic_config(
    server_root,
    listen="0.0.0.0:8888",
    conf="conf",
    logs="logs",
    htdocs="public",
    pythonhandler="mod_python.publisher",
    pythonpath=(),
    pythonoptions=(),
    mp_comments=(),
    conf_name="httpd_conf.py",
    createdirs=True,
    replace_config=False,
):
    """Write a Python file that prints the configuration of a server with one handler.

    ``python3 ROOT/conf/httpd_conf.py > ROOT/conf/httpd.conf`` makes the configuration,
    ``apache2 -d ROOT -f conf/httpd.conf`` starts the server. The entry script for mod_wsgi
    is written beside it. Directories that are there already are a warning on standard error.

    :param server_root: an absolute path; *conf*, *logs* and *htdocs* are directories in it.
    :param pythonhandler: what PythonHandler names.
    :param pythonpath: directories for Python's path.
    :param pythonoptions: PythonOptions, each a text ``name value``.
    :param mp_comments: comments for the section of mod_python.
    :param createdirs: make the directories.
    :param replace_config: replace a file that is there.
    :return: the path of the file, None if it was there.
    :raises OSError: if something cannot be written.
    """
    server_root = os.path.abspath(server_root)
    directory = os.path.join(server_root, conf)
    path = os.path.join(directory, conf_name)
    if os.path.exists(path) and not replace_config:
        _say(f"Error: {path!r} already exists, aborting.")
        return None
    if createdirs:
        for name in (server_root, os.path.join(server_root, htdocs), directory):
            _make_directory(name)
        _make_directory(os.path.join(server_root, logs))
        _copy_types(os.path.join(directory, "mime.types"))
    script = os.path.join(directory, "mod_python.wsgi")
    config = Container(
        Comment("\nThis config was auto-generated, do not edit!\n\n"),
        _modules(),
        _main(server_root, listen, conf, logs, htdocs),
        _handlers(script, pythonhandler, pythonpath, pythonoptions, mp_comments),
    )
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    _write(script, _ENTRY_SCRIPT.format(packages=packages))
    _write(
        path,
        f"#!{version.PYTHON_BIN}\n\n# Edit this file and run it: it prints a configuration.\n\n"
        f"import sys\n\nsys.path.insert(0, {packages!r})\n"
        f"from {__name__} import *\n\nconfig = {config!r}\n\nprint(config)\n",
    )
    return path


def _modules():
    modules = Container(Comment("\nLoad the necessary modules:\n\n"))
    for name in _MODULES:
        file = os.path.join(version.LIBEXECDIR, f"mod_{name}.so")
        # what Apache has built in is no file
        if os.path.exists(file):
            modules.append(Directive("LoadModule", f"{name}_module {quote_if_space(file)}"))
    modules.append(Directive("LoadModule", f"wsgi_module {quote_if_space(_mod_wsgi())}"))
    return modules


def _mod_wsgi():
    """Return the path of mod_wsgi's module: that of pip's package, else Debian's."""
    package = importlib.util.find_spec("mod_wsgi")
    if package is not None and package.origin:
        server = os.path.join(os.path.dirname(package.origin), "server")
        for file in sorted(glob.glob(os.path.join(glob.escape(server), "*.so"))):
            return file
    return os.path.join(version.LIBEXECDIR, "mod_wsgi.so")


def _user():
    """Return the directives that name the children's user, which Apache needs if root starts it."""
    user = Container()
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(_USER)
            user.append(Directive("User", found.pw_name))
            user.append(Directive("Group", f"#{found.pw_gid}"))
    return user


def _main(server_root, listen, conf, logs, htdocs):
    def log(name):
        return quote_if_space(os.path.join(logs, name))

    return Container(
        Comment("\nMain configuration options:\n\n"),
        Directive("ServerRoot", quote_if_space(server_root)),
        _user(),
        Directive("MaxConnectionsPerChild", "65536"),
        _verbatim(
            "LogFormat", r'"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined'
        ),
        Directive("CustomLog", f"{log('access_log')} combined"),
        Directive("ErrorLog", log("error_log")),
        Directive("LogLevel", "warn"),
        Directive("PidFile", log("httpd.pid")),
        Directive("TypesConfig", quote_if_space(os.path.join(conf, "mime.types"))),
        # without a name Apache warns that it knows none
        Directive("ServerName", "127.0.0.1"),
        Directive("Listen", listen),
        Directive("DocumentRoot", quote_if_space(os.path.join(server_root, htdocs))),
    )


def _handlers(script, handler, path, options, comments):
    section = Container(
        Comment("\nmod_python-specific options:\n\n"),
        Directive(
            "WSGIHandlerScript",
            f"mod_python {quote_if_space(script)}"
            " application-group=%{GLOBAL} pass-authorization=On",
        ),
        Directive("SetHandler", "mod_python"),
        Comment("SetEnv PythonDebug On"),
        _verbatim("SetEnv", f"PythonHandler {_quoted(handler)}"),
    )
    if path:
        section.append(_verbatim("SetEnv", f"PythonPath {_quoted(f'sys.path + {list(path)!r}')}"))
    for option in options:
        name, _, value = option.strip().partition(" ")
        section.append(
            _verbatim("SetEnv", f"PythonOption.{name} {_quoted(value.strip().strip(chr(34)))}")
        )
    for comment in comments:
        section.append(Comment(comment))
    return section


def _verbatim(name, value):
    return Directive(name, value, flipslash=0)


def _quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _listed(args, indent):
    for arg in args:
        arg.indent = indent
    return "".join(f"\n{arg!r}," for arg in args)


def _written(args, indent):
    for arg in args:
        arg.indent = indent
    return "".join(map(str, args))


def _holds(expression):
    return eval(expression, {"mod_python": sys.modules[_package], "sys": sys, "os": os})


def _make_directory(path):
    if os.path.isdir(path):
        _say(f"Warning: directory {path!r} already exists, continuing.")
    else:
        _say(f"Creating directory {path!r}.")
        os.mkdir(path)


def _copy_types(path):
    if os.path.isfile(path):
        _say(f"Warning: file {path!r} already exists, continuing.")
    elif os.path.isfile("/etc/mime.types"):
        shutil.copy("/etc/mime.types", path)
    else:
        # TypesConfig names it, so it must be there
        _write(path, "text/html html htm\ntext/plain txt\ntext/css css\n")


def _write(path, text):
    _say(f"Writing {path!r}.")
    with open(path, "w") as file:
        file.write(text)


def _say(text):
    print(text, file=sys.stderr)


def _directive(name):
    flipslash = int(name not in _KEEP_BACKSLASHES)
    default = _DEFAULTS.get(name, _NO_DEFAULT)

    def __init__(self, val=default):
        if val is _NO_DEFAULT:
            raise TypeError(f"{name} needs a value")
        Directive.__init__(self, type(self).__name__, val, flipslash)

    return type(name, (Directive,), {"__init__": __init__, "__doc__": f"The directive {name}."})


def _section(name):
    def __init__(self, dir, *args):
        ContainerTag.__init__(self, type(self).__name__, dir, args)

    return type(name, (ContainerTag,), {"__init__": __init__, "__doc__": f"The section {name}."})


globals().update({name: _directive(name) for name in _DIRECTIVES})
globals().update({name: _section(name) for name in _SECTIONS})
