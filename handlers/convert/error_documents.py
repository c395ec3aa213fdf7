"""ErrorDocument for the statuses that handlers of mod_python return.

mod_wsgi does not tell Apache of these, so the runtime answers. For a path on this server it sends
the file that Apache would send, if this configuration shows that Apache would send it to everybody;
otherwise the handlers of the section answer, if the path is one of its own.
"""

from handlers.configuration.text import Line, quote
from handlers.convert import scope
from handlers.convert.directives import AUTH, BEFORE, HANDLER_MODULE
from handlers.convert.scope import Place
from handlers.convert.view import View
from handlers.runtime import options
from handlers.runtime.front import condition_of, starts_with

#: Directives by which another module than Apache's own answers, or the answer is another one.
_OTHERS = (
    *("sethandler", "addhandler", "action", "dav", "addoutputfilter", "setoutputfilter"),
    *("addinputfilter", "setinputfilter", "forcetype", "rewriterule", "redirect", "redirectmatch"),
    *("proxypass", "proxypassmatch", "wsgiscriptalias", "jkmount", "scriptalias", "filterchain"),
    *("xbithack", "addtype"),
)
_RULES = (
    *("require", "allow", "deny", "order", "satisfy", "authtype", "authmerging", "sslrequire"),
    *("sslrequiressl", "sslverifyclient", "wsgiaccessscript", "wsgiauthuserscript"),
    "wsgiauthgroupscript",
)


def variables(view: View, place: Place, line: Line) -> list[str]:
    """Return the lines that tell the runtime of a line ErrorDocument."""
    words = line.words
    if len(words) < 2:
        return []
    # an old form has a quote at the start only
    document = words[1] if len(words) == 2 else " ".join(words[1:]).lstrip('"')
    name = f"{options.ERROR_PREFIX}{words[0]}"
    lines = [f"SetEnv {name} {quote(document)}"]
    if document.startswith("/"):
        file = _file(view, place, document) or ""
        lines.append(f"SetEnv {name}.file {quote(file)}")
    return lines


def is_expression(line: Line) -> bool:
    """Tell whether only Apache can work out a line ErrorDocument."""
    return "%{" in line.arguments or "${" in line.arguments


def _file(view: View, place: Place, url: str) -> str | None:
    """Return the file that Apache sends everybody for *url*, None if that can't be told."""
    host = place.host
    if host.kind == "htaccess":
        return None
    root = view.nearest(host, "documentroot")
    aliases = host.mapping()
    if not root or aliases is None or not _is_plain(url) or not _is_whole(view):
        return None
    path = f"{root.rstrip('/')}{url}"
    for prefix, target in aliases:
        if starts_with(url, prefix):
            path = target + url[len(prefix) :]
            break
    if not path.startswith("/"):
        return None
    rules = []
    for number, other in enumerate(view.places):
        if other.host not in (host, host.server):
            continue
        conditions = other.conditions()
        says = [
            line
            for line in view.lines(other, *_OTHERS, *_RULES, *BEFORE, *AUTH, HANDLER_MODULE)
            if line.key != "addtype" or _is_type_of(line, path)
        ]
        overrides = view.lines(other, "allowoverride", "allowoverridelist")
        if conditions is None:
            if says or overrides:
                return None
            continue
        if not all(condition_of(*condition)(url, path) for condition in conditions):
            continue
        if any([word.lower() for word in line.words] != ["none"] for line in overrides):
            return None
        if says and other.parent and scope.is_conditional(other.section, other.parent):
            return None
        if any(
            line.key not in ("require", "authtype") or scope.is_conditional(line, other)
            for line in says
        ):
            return None
        if says:
            rules.append((other.rank, number, says))
    if not rules:
        return None
    is_open = all(
        line.key == "require" and line.arguments.lower().split() == ["all", "granted"]
        for line in max(rules)[-1]
    )
    return path if is_open else None


def _is_whole(view: View) -> bool:
    """Tell whether nothing of the server's configuration is missing, as far as can be told."""
    lines = [line for place in view.places for line in place.lines()]
    return any(line.key in ("serverroot", "loadmodule") for line in lines) and not any(
        line.key in ("include", "includeoptional") for line in lines
    )


def _is_type_of(line: Line, path: str) -> bool:
    """Tell whether a line AddType is for a file: what runs programs may go by such a type."""
    extensions = {word.lower().lstrip(".") for word in line.words[1:]}
    return not extensions.isdisjoint(path.rpartition("/")[2].lower().split("."))


def _is_plain(url: str) -> bool:
    return not set("?%\\") & set(url) and "/." not in url and "//" not in url
