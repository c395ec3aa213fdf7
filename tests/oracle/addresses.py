"""What the request object says of the request line and of the file."""

import json

from mod_python import apache

_NAMES = (
    *("uri", "unparsed_uri", "args", "path_info", "filename", "canonical_filename", "method"),
    *("method_number", "the_request", "protocol", "proto_num", "header_only", "assbackwards"),
    *("hostname", "status", "content_type", "phase", "user", "ap_auth_type"),
    *("handler", "allowed", "mtime", "clength", "no_cache", "no_local_copy"),
    *("used_path_info", "status_line", "bytes_sent", "sent_bodyct", "read_length", "remaining"),
)


def request(req):
    """Write what the request object says, in JSON."""
    told = {name: getattr(req, name) for name in _NAMES}
    told["finfo"] = [req.finfo.filetype, req.finfo.size, req.finfo.mtime]
    told["document_root"] = req.document_root()
    told["is_https"] = req.is_https()
    told["parsed_uri"] = [req.parsed_uri[apache.URI_PATH], req.parsed_uri[apache.URI_QUERY]]
    req.content_type = "application/json"
    req.write(json.dumps(told))
    return apache.OK


def headers(req):
    """Write the header fields, names in lower case, in JSON."""
    req.content_type = "application/json"
    found = {name.lower(): value for name, value in req.headers_in.items()}
    req.write(json.dumps(found, sort_keys=True))
    return apache.OK


def header_names(req):
    """Write the names of the header fields as they are."""
    req.content_type = "text/plain"
    req.write(" ".join(sorted(req.headers_in.keys())))
    return apache.OK


def password(req):
    """Write what Basic authentication says."""
    req.content_type = "text/plain"
    req.write(f"{req.get_basic_auth_pw()!r} {req.user!r}")
    return apache.OK


def unasked(req):
    """Write what Basic authentication says where nobody asked for a name."""
    return password(req)


def option_only(req):
    """Write what Basic authentication says where only the runtime's option asks for it."""
    return password(req)


def cookie_field(req):
    """Write the cookie field."""
    req.content_type = "text/plain"
    req.write(ascii(req.headers_in["Cookie"]))
    return apache.OK


def environment(req):
    """Write the CGI variables that do not depend on the machine, in JSON."""
    req.add_cgi_vars()
    names = (
        *("REQUEST_METHOD", "QUERY_STRING", "SCRIPT_NAME", "PATH_INFO", "DOCUMENT_ROOT"),
        *("SERVER_PROTOCOL", "GATEWAY_INTERFACE", "SCRIPT_FILENAME", "SERVER_NAME"),
        *("HTTP_X_ASKED", "CONTENT_TYPE", "ORACLE_VARIABLE", "REQUEST_URI", "HTTP_AUTHORIZATION"),
    )
    env = apache.build_cgi_env(req)
    told = [{name: table.get(name) for name in names} for table in (req.subprocess_env, env)]
    req.content_type = "application/json"
    req.write(json.dumps(told))
    return apache.OK


def file_names(req):
    """Write what is known of the file."""
    req.content_type = "text/plain"
    req.write(f"{req.filename!r} {req.path_info!r}")
    return apache.OK
