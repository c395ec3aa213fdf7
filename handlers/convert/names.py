"""Names of mod_python's API in handlers' files that are not there in the runtime, or differ."""

import ast
import os
import re

from handlers.convert.directives import NAMES
from handlers.convert.loading import REQUEST_REC
from handlers.convert.scope import Place
from handlers.mod_python import apache
from handlers.runtime.request import Request

#: What handlers call the request.
_REQUESTS = ("req", "request", "r")
#: Members of the request of mod_python 3.5; those that the runtime lacks are named.
_MEMBERS = (
    *("add_cgi_vars", "add_common_vars", "add_handler", "add_input_filter", "add_output_filter"),
    *("allow_methods", "allowed", "allowed_methods", "allowed_xmethods", "ap_auth_type", "args"),
    *("assbackwards", "auth_name", "auth_type", "bytes_sent", "canonical_filename", "chunked"),
    *("clength", "connection", "construct_url", "content_encoding", "content_languages"),
    *("content_type", "discard_request_body", "document_root", "eos_sent", "err_headers_out"),
    *("expecting_100", "filename", "finfo", "flush", "get_basic_auth_pw", "get_config"),
    *("get_options", "get_remote_host", "handler", "header_only", "headers_in", "headers_out"),
    *("hlist", "hostname", "internal_redirect", "interpreter", "is_https", "log_error", "main"),
    *("meets_conditions", "method", "method_number", "mtime", "next", "no_cache"),
    *("no_local_copy", "notes", "parsed_uri", "path_info", "phase", "prev", "proto_num"),
    *("protocol", "proxyreq", "range", "read", "read_body", "read_chunked", "read_length"),
    *("readline", "readlines", "register_cleanup", "register_input_filter"),
    *("register_output_filter", "remaining", "request_time", "requires", "send_http_header"),
    *("sendfile", "sent_bodyct", "server", "set_content_length", "set_etag"),
    *("set_last_modified", "ssl_var_lookup", "status", "status_line", "subprocess_env"),
    *("the_request", "unparsed_uri", "update_mtime", "uri", "used_path_info", "user"),
    *("useragent_addr", "useragent_ip", "vlist_validator", "write"),
)
_MISSING = "not there on mod_wsgi"
_DIFFERENT = {
    "requires": "None on Apache 2.4, as in mod_python",
    "internal_redirect": "leads only to what mod_python's handlers answer",
    "add_input_filter": "only for filters of the handlers' own",
    "add_output_filter": "only for filters of the handlers' own",
    "subprocess_env": "a copy: Apache and its access log do not see a change",
    "notes": "a copy: Apache and its access log do not see a change",
    "prev": "only after a redirect within the handlers",
    "main": "None: subrequests are not told",
    "proxyreq": "0: what is proxied does not reach handlers",
}


# as in mod_python where handlers read Apache's own structures
_TOLD = (
    *("internal_redirect", "subprocess_env", "notes", "prev", "main", "read_body"),
    "read_chunked",
)


def differences(root: Place, request_rec: bool) -> list[dict[str, str]]:
    """Return notes on the names that the files of a configuration's handlers use.

    Each has ``place``, ``name`` and ``note``, and ``option``, that of the command with which the
    name is as in mod_python.

    :param request_rec: whether handlers read Apache's own structures.

    Only modules are read that lie in their section's directory or in one that PythonPath spells.
    """
    found = []
    for path in _files(root):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                tree = ast.parse(file.read())
        except (OSError, SyntaxError, ValueError) as error:
            note = f"can't be read: {error}"
            found.append({"place": path, "name": "", "note": note, "option": ""})
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                note = _note(node.value.id, node.attr)
                option = REQUEST_REC if node.attr in _TOLD and node.value.id != "apache" else ""
                if note and not (option and request_rec):
                    place, name = f"{path}:{node.lineno}", f"{node.value.id}.{node.attr}"
                    found.append({"place": place, "name": name, "note": note, "option": option})
    return found


def _note(owner: str, name: str) -> str:
    if owner == "apache":
        return "" if hasattr(apache, name) or name == "interpreter" else _MISSING
    if owner not in _REQUESTS or name not in _MEMBERS:
        return ""
    if not hasattr(Request, name):
        return _MISSING
    return _DIFFERENT.get(name, "")


def _files(root: Place) -> list[str]:
    found: dict[str, None] = {}
    for place in root.all():
        directories = [place.directory] if place.directory else []
        for near in place.around:
            for line in near.lines("pythonpath"):
                directories += re.findall(r"['\"](/[^'\"]*)['\"]", line.arguments)
        for line in place.lines(*NAMES):
            if not line.key.endswith(("handler", "handlermodule", "filter", "import")):
                continue
            for spec in line.arguments.partition("|")[0].split():
                module = spec.partition("::")[0].replace(".", "/")
                for directory in directories:
                    for path in (f"{module}.py", f"{module}/__init__.py"):
                        path = os.path.join(directory, path)
                        if os.path.isfile(path):
                            found[path] = None
    return list(found)
