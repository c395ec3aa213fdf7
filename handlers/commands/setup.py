"""``modpython-handlers setup``: the files in Apache's configuration, and what to type next."""

import argparse
import glob
import grp
import json
import os
import pwd
import re
import sys
import sysconfig
from typing import Any, NamedTuple

from handlers import settings, state_directory
from handlers.commands import checks, generated, place
from handlers.commands.apache import Apache
from handlers.commands.generated import File
from handlers.commands.result import Failed, Result

HELP = "write the drop-in for this Apache, this Python and a settings file"
ETC = "/etc/modpython-handlers"
SHARE = os.path.join(sysconfig.get_path("data"), "share", "modpython-handlers")
PTH = "modpython-handlers.pth"

_CACHE = "/var/cache/modpython-handlers"
_NEEDED = ("headers", "setenvif", "env", "alias")
_LIBRARIES = ("purelib", "platlib")
_SERVER = "handlers"
_SITE = "handlers-site"
_NO_MOD_WSGI = (
    "there is no mod_wsgi: apt install libapache2-mod-wsgi-py3 (Red Hat: dnf install "
    "python3-mod_wsgi), or, which compiles it, apt install apache2-dev python3-dev gcc and {}/bin/"
    "pip install --no-cache-dir mod_wsgi"
)
_NO_MOD_PYTHON = (
    "mod_python is not installed: apt install libapache2-mod-python; Debian 13 and later do not "
    "have it any more, and there mod_wsgi runs the same handlers (--server mod_wsgi)"
)

_DAEMON = """\
# Where Python runs, if not in Apache's own children: in the processes of this WSGIDaemonProcess
#Define HANDLERS_GROUP name
"""


class Server(NamedTuple):
    """The Apache module that runs Python."""

    name: str
    #: Its file.
    module: str
    #: Whether our own configuration must load it.
    is_ours: bool
    #: The command that enables it, None if it is enabled.
    enable: str | None


class Site(NamedTuple):
    """One settings file, and the names that follow from its own."""

    settings: str
    #: Of the configuration file, without ``.conf``.
    conf: str
    cache: str

    @classmethod
    def of(cls, path: str) -> "Site":
        """Return the site whose settings file is *path*; ``settings.ini`` is the default one."""
        name = os.path.splitext(os.path.basename(path))[0]
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise Failed(f"{path}: the file's name must consist of A-Z a-z 0-9 . _ -")
        if name == "settings":
            return cls(path, _SITE, _CACHE)
        return cls(path, f"{_SITE}-{name}", f"{_CACHE}-{name}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--server", choices=("mod_wsgi", "mod_python"), default="mod_wsgi", help="(%(default)s)"
    )
    places = "/etc/apache2 or /etc/httpd"
    parser.add_argument("--apache", metavar="DIR", help=f"Apache's configuration ({places})")
    parser.add_argument("--etc", metavar="DIR", default=ETC, help="our own (%(default)s)")
    parser.add_argument("--user", metavar="NAME", help="Apache's user (as Apache's files say)")
    parser.add_argument(
        "--dist-packages",
        metavar="DIR",
        help=f"where {PTH} is put for mod_python (/usr/local/lib/python3.X/dist-packages)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show all, write nothing")
    parser.set_defaults(run=run, reads_settings=False)


def run(args: argparse.Namespace, _options) -> Result:
    """Check everything, then write the files and make the directories.

    An edited file is never overwritten. With ``--dry-run`` nothing is written.

    :raises Failed, BadSettings: with the sentence that says what stands in the way; nothing is
        written then.
    """
    apache, etc = Apache(args.apache), os.path.abspath(args.etc)
    user = _user(args.user or apache.user)
    gid = _gid(apache.group, user) if args.user is None else user.pw_gid
    site = Site.of(os.path.abspath(args.settings or os.path.join(etc, "settings.ini")))
    server = find_server(apache, args.server)
    default = _settings_text(site)
    options = (
        settings.read(site.settings)
        if os.path.exists(site.settings)
        else settings.of_text(default, site.settings)
    )

    checks.check_environment()
    checks.check_python(server.module)
    checks.check_readable(user.pw_name, user.pw_uid, gid, [server.module] if server.is_ours else [])
    checks.check_shared_places(etc, site.settings, options)
    files = [
        File(apache.conf_file(f"{_SERVER}.conf"), _server_part(apache, server, etc)),
        File(site_file(apache, site.conf), _site_part(site, options)),
        File(site.settings, default, marked=False, mode=0o640, gid=gid),
    ]
    if server.name == "mod_wsgi":
        files.append(File(os.path.join(etc, "handlers.wsgi"), _entry_script()))
    else:
        files.append(_path_file(server, args.dist_packages))
    actions = [generated.decide(file) for file in files]
    own = {os.path.dirname(file.path): (0, 0) for file in files[2:]} if os.geteuid() == 0 else {}
    folders = _folders(options, site)
    makes = own | dict.fromkeys(folders, (user.pw_uid, gid))
    done = {path: place.ensure(path, *who, dry_run=True) for path, who in makes.items()}
    if not args.dry_run:
        if os.geteuid() != 0:
            os.makedirs(etc, exist_ok=True)
        for path, who in makes.items():
            place.ensure(path, *who)
        for file, action in zip(files, actions, strict=True):
            if action.path:
                generated.write(file, action.path)

    prefixes = [options.thumbnail.url, options.get("images.url", "off")]
    is_new = actions[2].word == generated.WRITTEN
    values = {
        "server": server.name,
        "module": server.module,
        "dry_run": args.dry_run,
        "files": [
            {"path": file.path, "action": action.word, "written": action.path}
            | ({"text": file.content} if args.dry_run else {})
            for file, action in zip(files, actions, strict=True)
        ],
        "directories": [
            {"path": path, "action": done[path], "owner": user.pw_name} for path in folders
        ],
        "warnings": [
            *checks.taken_urls(apache, [url for url in prefixes if url != "off"]),
            *(checks.forbidden_embedding(apache) if server.name == "mod_wsgi" else []),
            *([] if is_new else checks.unreadable_data(user.pw_name, user.pw_uid, gid, options)),
        ],
        "edit": site.settings if is_new else None,
        "next": next_commands(apache, server, site),
        "include": include_line(apache, site.conf),
    }
    return Result(values, _text)


def find_server(apache: Apache, name: str) -> Server:
    """Return the module *name* of this Apache, or the one of this environment.

    :raises Failed: if there is none, or the other one is loaded, which cannot share a server.
    """
    loaded = {
        module: next(
            (
                apache.path(d.arguments[1])
                for d in apache.named("LoadModule")
                if d.arguments[:1] == [f"{module}_module"]
                and len(d.arguments) == 2
                and not is_shipped(d.file)
            ),
            None,
        )
        for module in ("wsgi", "python")
    }
    if name == "mod_python":
        module = loaded["python"] or _debians(apache, "python")
        if module is None:
            raise Failed(_NO_MOD_PYTHON)
        _refuse_beside(loaded["wsgi"], "mod_wsgi", "a2dismod wsgi, or run setup --server mod_wsgi")
        return Server(name, module, False, None if loaded["python"] else "a2enmod python")
    _refuse_beside(
        loaded["python"], "mod_python", "a2dismod python, or run setup --server mod_python"
    )
    if loaded["wsgi"]:
        return Server(name, loaded["wsgi"], False, None)
    debians = _debians(apache, "wsgi")
    if debians:
        return Server(name, debians, False, "a2enmod wsgi")
    pattern = os.path.join(
        glob.escape(sysconfig.get_path("platlib")), "mod_wsgi", "server", "mod_wsgi-py3*.so"
    )
    built = sorted(glob.glob(pattern))
    if not built:
        raise Failed(_NO_MOD_WSGI.format(sys.prefix))
    return Server(name, built[0], True, None)


def is_shipped(path: str) -> bool:
    """Tell whether a configuration file is one of those that the package brings along."""
    return os.path.basename(os.path.dirname(path)) == os.path.basename(SHARE)


def next_commands(apache: Apache, server: Server, site: Site) -> list[str]:
    """Return what the admin types next, a command an item."""
    commands = []
    if apache.is_debian:
        commands += [server.enable] if server.enable else []
        missing = [name for name in _NEEDED if name not in apache.modules]
        commands += [f"a2enmod {' '.join(missing)}"] if missing else []
        names = [_SERVER] + ([_SITE] if site.conf == _SITE else [])
        names = [name for name in names if not apache.is_enabled(f"{name}.conf")]
        commands += [f"a2enconf {' '.join(names)}"] if names else []
    return [
        *commands,
        "apachectl configtest",
        apache.restart,
        f"tail -f {apache.error_log}",
    ]


def site_file(apache: Apache, name: str) -> str:
    """Return the path of a site part; in conf.d only that of the default one is read by itself."""
    ending = ".conf" if apache.is_debian or name == _SITE else ".inc"
    return apache.conf_file(name + ending)


def include_line(apache: Apache, name: str) -> str:
    """Return the line that puts a site part into one virtual host."""
    path = site_file(apache, name)
    if not apache.is_debian and name == _SITE:
        path = path.removesuffix(".conf") + ".inc"
    return f"Include {os.path.relpath(path, apache.directory)}"


def _debians(apache: Apache, name: str) -> str | None:
    """Return the module *name* that a package of Debian's has installed, enabled or not."""
    load = os.path.join(apache.directory, "mods-available", f"{name}.load")
    try:
        with open(load, encoding="utf-8", errors="surrogateescape") as file:
            found = re.search(rf"(?m)^\s*LoadModule\s+{name}_module\s+(\S+)", file.read())
    except FileNotFoundError:
        return None
    module = apache.path(found[1]) if found else ""
    return module if os.path.exists(module) else None


def _refuse_beside(module: str | None, name: str, cure: str) -> None:
    if module is not None:
        raise Failed(
            f"Apache loads {name} ({module}), and mod_python and mod_wsgi cannot share a server: "
            + cure
        )


def _server_part(apache: Apache, server: Server, etc: str) -> str:
    defines = {"HANDLERS_HOME": sys.prefix, "HANDLERS_MODULES": apache.module_directory}
    drop_in = "handlers-mod_python.conf"
    if server.name == "mod_wsgi":
        drop_in = "handlers.conf"
        defines["HANDLERS_MOD_WSGI"] = server.module
    defines["HANDLERS_ETC"] = etc
    return (
        "# The server part: it loads what runs the handlers, and takes no URL.\n"
        + "".join(f"Define {name} {_quoted(value)}\n" for name, value in defines.items())
        + _DAEMON * (server.name == "mod_wsgi")
        + f"Include {_quoted(os.path.join(SHARE, drop_in))}\n"
    )


def _site_part(site: Site, options: settings.Settings) -> str:
    images = options.get("images.url", "off")
    publishes = images != "off"
    cache = options.get("thumbnail.cache", site.cache)
    # <Directory> takes these for a pattern
    pattern = re.sub(r"[*?\[]", r"[\g<0>]", cache)
    named = f"Define HANDLERS_CACHE_PATTERN {_quoted(pattern)}\n" if pattern != cache else ""
    return f"""\
# The site part: enabled with a2enconf it holds for all sites, included in a <VirtualHost> for one.
Define HANDLERS_SETTINGS {_quoted(site.settings)}
# As thumbnail.cache in the settings file
Define HANDLERS_CACHE {_quoted(cache)}
{named}# The URLs that it takes: thumbnails, as thumbnail.url in the settings file
Define HANDLERS_THUMBS {_quoted(options.thumbnail.url)}
# and the original files, as images.url there; without this line they are not published
{"" if publishes else "#"}Define HANDLERS_IMAGES {_quoted(images if publishes else "/images")}
# The gallery at /
#Define HANDLERS_GALLERY
# /handlers-status, /handlers-metrics and /handlers-health, for this machine only
#Define HANDLERS_STATUS
# Formats that a client gets if it accepts them and the URL has no extension, besides jpg
Define HANDLERS_WEBP
Define HANDLERS_AVIF
Include {_quoted(os.path.join(SHARE, "handlers-site.conf"))}
"""


def _settings_text(site: Site) -> str:
    text = _shipped("settings.ini")
    if site.cache != _CACHE:
        text = text.replace(_CACHE, site.cache)
    return text


def _entry_script() -> str:
    text, replaced = re.subn(
        r"(?m)^ENVIRONMENT = .*$",
        lambda found: f"ENVIRONMENT = {json.dumps(sys.prefix)}",
        _shipped("handlers.wsgi"),
    )
    if replaced != 1:
        raise Failed(f"{SHARE}/handlers.wsgi is not that of this package; install it again")
    return text


def _path_file(server: Server, directory: str | None) -> File:
    version = checks.python_of(server.module) or f"{sys.version_info[0]}.{sys.version_info[1]}"
    directory = directory or f"/usr/local/lib/python{version}/dist-packages"
    text = "".join(f"{path}\n" for path in dict.fromkeys(map(sysconfig.get_path, _LIBRARIES)))
    return File(os.path.join(os.path.abspath(directory), PTH), text)


def _shipped(name: str) -> str:
    try:
        with open(os.path.join(SHARE, name), encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}; install the package again") from error


def _folders(options: settings.Settings, site: Site) -> list[str]:
    """Return the directories that Apache's children write to, and do not make themselves."""
    found = [options.get("thumbnail.cache", site.cache)]
    if options.get("lookup.snapshot"):
        beside = os.path.dirname(options["lookup.snapshot"])
        # what lies in the cache the children make, for nobody else to read
        if os.path.normpath(beside) != os.path.normpath(state_directory.path(found[0])):
            found.append(beside)
    for path in found:
        if not os.path.isabs(path):
            raise Failed(f"{path} is not an absolute path: correct {site.settings}")
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name[1:])) if name.startswith("#") else pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise Failed(f"there is no user {name}: name Apache's by --user") from None


def _gid(name: str, user: pwd.struct_passwd) -> int:
    try:
        return int(name[1:]) if name.startswith("#") else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return user.pw_gid


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"\s", text) else text


def _text(values: dict[str, Any]) -> str:
    lines = []
    if values["dry_run"]:
        lines.append("Nothing is written; without --dry-run it would be:")
    for file in values["files"]:
        note = {
            generated.BESIDE: f", as you have edited it; the new text is {file['written']}",
            generated.KEPT: " as it is",
        }.get(file["action"], "")
        word = "kept" if file["action"] == generated.BESIDE else file["action"]
        lines.append(f"{word:10} {file['path']}{note}")
        if values["dry_run"] and file["written"]:
            lines += [f"    | {line}".rstrip() for line in file["text"].splitlines()]
    for directory in values["directories"]:
        lines.append(f"{directory['action']:10} {directory['path']} ({directory['owner']}'s)")
    lines += [f"WARNING: {warning}" for warning in values["warnings"]]
    edit = values["edit"]
    names = "lookup.database, lookup.table and images.root"
    what = f"Edit {names} in {edit}, then type" if edit else "Now type"
    lines += ["", f"{what}:", "", *(f"    {command}" for command in values["next"])]
    others = any("handlers-site" in command for command in values["next"])
    without = " and leave out handlers-site above" if others else ""
    lines += [
        "",
        f"For one virtual host only, put this line into its <VirtualHost>{without}:",
        "",
        f"    {values['include']}",
    ]
    return "\n".join(lines)
