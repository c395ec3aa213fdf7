"""Questions about the request object that one expression asks."""

import os
import urllib.parse

import _apache
from mod_python import apache

from .answers import write_answer


def _send_nothing(req):
    try:
        return req.sendfile("/no/such/file")
    except OSError:
        return "OSError"


def _locks(req):
    """Hold locks, one by its number; return whether others could hold them meanwhile."""
    _apache._global_lock(req.server, "key")
    _apache._global_lock(req.server, None, 0)
    found = [_apache._global_trylock(req.server, *lock) for lock in (("key",), (None, 0))]
    _apache._global_unlock(req.server, "key")
    _apache._global_unlock(req.server, None, 0)
    found.append(_apache._global_trylock(req.server, "key"))
    _apache._global_unlock(req.server, "key")
    return found


def _by_index(info, path):
    """Return the first seven items; of those that depend on the machine whether they are right."""
    real = os.stat(path)
    expected = {1: real.st_ino, 2: real.st_dev, 4: real.st_uid, 5: real.st_gid}
    return [info[n] == expected[n] if n in expected else info[n] for n in range(7)]


QUESTIONS = {
    "status is settable": lambda req: (setattr(req, "status", 201), req.status),
    "own attribute": lambda req: (setattr(req, "mine", [1]), req.mine),
    "unknown attribute": lambda req: req.no_such_thing,
    "deleted attribute": lambda req: (setattr(req, "mine", 1), delattr(req, "mine"), req.mine),
    "headers_in by any case": lambda req: req.headers_in["x-ASKED"],
    "headers_in of none": lambda req: req.headers_in["X-None"],
    "headers_in.get of none": lambda req: req.headers_in.get("X-None"),
    "notes": lambda req: (req.notes.__setitem__("a", "b"), req.notes["A"]),
    "add to headers": lambda req: (req.headers_out.add("X-A", "b"), req.headers_out.items()),
    "subprocess_env": lambda req: req.subprocess_env["ORACLE_VARIABLE"],
    "options": lambda req: sorted(
        option for option in req.get_options().items() if option[0] != "handlers.etc"
    ),
    "options by any case": lambda req: req.get_options()["ORACLE.Kept"],
    "config": lambda req: sorted(set(req.get_config().keys()) - {"PythonInterpreter"}),
    "config is a table": lambda req: type(req.get_config()) is apache.table,
    "write None": lambda req: req.write(None),
    "write int": lambda req: req.write(1),
    "write nothing": lambda req: req.write(""),
    "write bytearray": lambda req: req.write(bytearray(b"x")),
    "write list": lambda req: req.write(["x"]),
    "content_type None": lambda req: setattr(req, "content_type", None),
    "content_type int": lambda req: setattr(req, "content_type", 1),
    "content_type euro": lambda req: setattr(req, "content_type", "text/€"),
    "content_type is settable": lambda req: (
        setattr(req, "content_type", "a/b"),
        req.content_type,
    ),
    "set_content_length": lambda req: (
        req.set_content_length(0),
        req.clength,
        req.headers_out["Content-Length"],
        req.headers_out.clear(),
    ),
    "set_content_length text": lambda req: req.set_content_length("5"),
    "update_mtime": lambda req: (
        req.update_mtime(5),
        req.mtime,
        req.update_mtime(3),
        req.mtime,
        req.update_mtime(7.9),
        req.mtime,
    ),
    "set_last_modified": lambda req: (
        req.update_mtime(1.6e9),
        req.set_last_modified(),
        req.headers_out["Last-Modified"],
    ),
    "set_etag of a file": lambda req: (req.set_etag(), req.headers_out["ETag"]),
    "meets_conditions": lambda req: req.meets_conditions(),
    "allow_methods": lambda req: (
        req.allow_methods(["GET", "PATCH", "BREW"]),
        req.allowed_methods,
    ),
    "construct_url": lambda req: req.construct_url("/a").partition(":")[0],
    "log_error bytes": lambda req: req.log_error(b"x"),
    "log_error text level": lambda req: req.log_error("x", "x"),
    "sendfile of nothing": _send_nothing,
    "register_cleanup of text": lambda req: req.register_cleanup("x"),
    "read without a body": lambda req: req.read(),
    "readline without a body": lambda req: req.readline(),
    "readlines without a body": lambda req: req.readlines(),
    "discard_request_body": lambda req: req.discard_request_body(),
    "send_http_header": lambda req: req.send_http_header(),
    "get_remote_host": lambda req: req.get_remote_host(),
    "get_remote_host no look-up": lambda req: req.get_remote_host(apache.REMOTE_NOLOOKUP),
    "get_remote_host is ip": lambda req: req.get_remote_host(apache.REMOTE_NOLOOKUP, 1),
    "client_ip": lambda req: (req.connection.client_ip, req.connection.remote_ip),
    "client_addr": lambda req: (req.connection.client_addr[0], req.useragent_ip),
    "local_ip": lambda req: (req.connection.local_ip, req.connection.local_addr[0]),
    "server admin": lambda req: req.server.server_admin,
    "server options": lambda req: isinstance(req.server.get_options(), apache.table),
    "finfo by index": lambda req: [*_by_index(req.finfo, req.filename), req.finfo[8]],
    "finfo names": lambda req: (req.finfo.fname, req.finfo.protection, req.finfo.nlink),
    "finfo mtime by constant": lambda req: req.finfo[apache.FINFO_MTIME],
    "finfo past the end": lambda req: req.finfo[13],
    "stat": lambda req: _by_index(apache.stat(req.filename, apache.APR_FINFO_NORM), req.filename),
    "stat filetype": lambda req: apache.stat("/", apache.APR_FINFO_NORM).filetype,
    "stat of nothing": lambda req: apache.stat("/no/such", apache.APR_FINFO_NORM).filetype,
    "stat of nothing, size": lambda req: apache.stat("/no/such", apache.APR_FINFO_NORM).size,
    "stat below a file": lambda req: apache.stat(req.filename + "/x", apache.APR_FINFO_NORM),
    "stat of a number": lambda req: apache.stat(5, apache.APR_FINFO_NORM),
    "import_module": lambda req: apache.import_module("oracle.answers").__name__,
    "import_module of a package": lambda req: apache.import_module("oracle").__name__,
    "import_module of nothing": lambda req: apache.import_module("no_such_module_at_all"),
    "import_module keeps one": lambda req: (
        apache.import_module("oracle.answers") is apache.import_module("oracle.answers")
    ),
    "table is make_table": lambda req: apache.make_table is apache.table,
    "interpreter": lambda req: isinstance(apache.interpreter, str),
    "SERVER_RETURN": lambda req: issubclass(apache.SERVER_RETURN, Exception),
    # known differences
    "allowed": lambda req: (req.allow_methods(["GET", "PATCH"]), req.allowed),
    "log_error None": lambda req: req.log_error(None),
    "import_module with a path": lambda req: (
        apache.import_module("beside", path=[os.path.dirname(req.filename)]).WHERE
    ),
    "server name": lambda req: req.server.server_hostname,
    "content_encoding is settable": lambda req: setattr(req, "content_encoding", "x-mine"),
    "finfo filetype by constant": lambda req: req.finfo[apache.FINFO_FILETYPE] == apache.APR_REG,
    "content_type of the file": lambda req: req.content_type,
    "interpreter of the request": lambda req: req.interpreter,
    "main": lambda req: req.main,
    "prev": lambda req: req.prev,
    "next": lambda req: req.next,
    "proxyreq": lambda req: req.proxyreq,
    "chunked": lambda req: req.chunked,
    "range": lambda req: req.range,
    "hlist": lambda req: req.hlist is not None,
    "resolve_object": lambda req: apache.resolve_object(os, "path.join") is os.path.join,
    "resolve_object of nothing": lambda req: apache.resolve_object(os, "path.none", silent=1),
    "main_server options": lambda req: isinstance(apache.main_server.get_options(), apache.table),
    "requires": lambda req: req.requires(),
    "auth_name": lambda req: req.auth_name(),
    "mpm_query forked": lambda req: apache.mpm_query(apache.AP_MPMQ_IS_FORKED),
    "server_root is a directory": lambda req: os.path.isdir(apache.server_root()),
    "config_tree names": lambda req: [
        part[0] for part in apache.config_tree() if isinstance(part, tuple) and part[0] != "Port"
    ][:8],
    "defined": lambda req: apache.exists_config_define("ORACLE"),
    "exists_config_define of a number": lambda req: apache.exists_config_define(5),
    "remote_host": lambda req: (req.connection.remote_host, req.connection.remote_logname),
    "local_host": lambda req: req.connection.local_host,
    "double_reverse": lambda req: req.connection.double_reverse,
    "base_server": lambda req: req.connection.base_server is not None,
    "connection aborted": lambda req: req.connection.aborted,
    "connection keepalive": lambda req: req.connection.keepalive,
    "connection id": lambda req: req.connection.id >= 0,
    "connection notes": lambda req: len(req.connection.notes),
    "server timeout": lambda req: req.server.timeout > 0,
    "server is_virtual": lambda req: req.server.is_virtual,
    "server of httpd's files": lambda req: (
        *(req.server.keep_alive, req.server.keep_alive_max, req.server.keep_alive_timeout),
        *(req.server.limit_req_line, req.server.limit_req_fields, req.server.limit_req_fieldsize),
        *(req.server.loglevel, req.server.names, req.server.wild_names, req.server.path),
        *(req.server.pathlen, req.server.defn_name, req.server.defn_line_number),
        os.path.basename(req.server.error_fname),
    ),
    "base_server is a server": lambda req: type(req.connection.base_server) is type(req.server),
    "options that last": lambda req: (
        apache.main_server.get_options().__setitem__("oracle.lasting", "1"),
        apache.main_server.get_options()["oracle.lasting"],
        apache.main_server.get_options().__delitem__("oracle.lasting"),
    ),
    "body not read": lambda req: (req.read_body, req.read_chunked),
    "body read": lambda req: (req.read(), req.read_body),
    "chunked once it is sent": lambda req: (req.write("x"), req.chunked),
    "kept alive once it is sent": lambda req: (
        *(req.connection.keepalive, req.connection.keepalives),
        req.flush(),
        *(req.connection.keepalive, req.connection.keepalives),
    ),
    "directory of an added handler": lambda req: req.add_handler(
        "PythonHandler", "oracle.chain::place", os.path.dirname(req.filename)
    ),
    "locks": lambda req: _locks(req),
    "lock of no server": lambda req: _apache._global_lock(None, None),
    "internal_redirect": lambda req: callable(req.internal_redirect),
    "add_handler": lambda req: callable(req.add_handler),
    "add_output_filter": lambda req: callable(req.add_output_filter),
    "auth_type": lambda req: req.auth_type(),
    "ssl_var_lookup": lambda req: req.ssl_var_lookup("X"),
    "server_root": lambda req: bool(apache.server_root()),
    "config_tree": lambda req: bool(apache.config_tree()),
    "mpm_query": lambda req: apache.mpm_query(apache.AP_MPMQ_IS_THREADED),
    "exists_config_define": lambda req: apache.exists_config_define("NO_SUCH"),
    "main_server": lambda req: apache.main_server is not None,
}


def ask(req):
    """Answer the question that the query names."""
    question = QUESTIONS[urllib.parse.unquote(req.args)]
    return write_answer(req, lambda: question(req))
