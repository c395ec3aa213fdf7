"""What real mod_python does in another way than the runtime does: the one list of it.

A test that meets one of these asserts both ways, so an entry that is no longer true fails.
"""

DIFFERENCES = {
    # what handlers return
    "page": "an error that a handler returns is answered with Apache's own page or ErrorDocument",
    "success": "a status from 200 to 299 that a handler returns is an error page of that status",
    "unknown status": "418 and 425 are statuses that Apache does not know, and answered 500",
    "informational": "101 that a handler returns is sent as the final status",
    "three arguments": "SERVER_RETURN takes more than two arguments and heeds the first",
    "declined after output": "DECLINED after some output appends the file to it",
    "declined POST": "DECLINED for POST sends the file that the address maps to",
    "accept-ranges": "DECLINED sends Accept-Ranges with the file",
    "allow": "Allow names TRACE, too, and an Allow that the handler set is dropped",
    "allow of 501": "501 has an Allow field",
    # the request
    "location": "in a <Location> that no file belongs to, req.filename and req.path_info are None",
    "not UTF-8": "req.uri raises UnicodeDecodeError for an address that is not UTF-8",
    "header names": "headers_in keeps the names as the client wrote them",
    "underscore": "headers_in has fields with an underscore in their name",
    "server name": "req.server.server_hostname is ServerName, not the name the client asked for",
    "auth type": "get_basic_auth_pw goes by AuthType, not by the option mod_python.auth_type",
    "bad field": "headers_in[name] of a field that is not UTF-8 ends the child, get raises",
    "interpreter": "req.interpreter names the main interpreter main_interpreter",
    "allowed": "allow_methods leaves req.allowed as it is",
    "remaining": "req.remaining is the whole length when a part of the body has been read",
    # the response
    "range": "req.sendfile on mod_python answers a Range request with the whole file and 200",
    "sendfile offset": "sendfile with an offset and no length fails, or kills the child",
    "sendfile length": "a file sent by sendfile alone goes out chunked, without Content-Length",
    "type by header": "headers_out['Content-Type'] does not count, even if content_type is not set",
    "content_encoding": "req.content_encoding cannot be set",
    "etag of no file": "set_etag makes a tag for a directory",
    "both conditions": "a matching If-None-Match gives 304 only if If-Modified-Since holds, too",
    "weak match": "If-None-Match compares strongly for POST; a weak match is no 412",
    # tables and the like
    "line break": "a table takes a value with a line break in it",
    "table repr": "the repr of a table lists its rows backwards",
    "table copy": "a table's copy, or a table made from one, merges or drops repeated keys",
    "popitem": "popitem leaves the row in the table",
    "setdefault": "setdefault of a new key kills the child",
    "subclass": "a subclass of table ignores the mapping that it is made from",
    "filetype": "finfo[apache.FINFO_FILETYPE] raises IndexError",
    "import path": "import_module does not look in the directories of path",
    # the log
    "levels": "the log has all eight levels (EMERG becomes error); the runtime's has five",
    "log None": "log_error takes None and writes nothing",
    "server log": "apache.log_error writes nothing below notice, and no client's address",
    "failed cleanup": "a cleanup that fails is logged without its traceback",
    # forms and cookies
    "short names": "parse_qsl mixes up names and values of one to three letters",
    "field's file": "the file of a field of the query raises TypeError",
    "last boundary": "a last boundary without a line end belongs to the field before it",
    "urlencoded": "a published function gets no argument from an urlencoded body",
    "max_age": "max_age is sent under that name, which browsers do not know",
    "cookie's flag": "a flag of a cookie is sent even if it is false",
    "cookie's line break": "a cookie with a line break in it is sent",
    "quoted cookie": "a cookie's value in quotes goes on behind a semicolon",
    "signed cookies": "SignedCookie and MarshalCookie raise TypeError",
    # publisher, PSP and the other handlers
    "published bytes": "bytes that a published function returns are sent as their repr",
    "published import": "a function that a page has imported is published, whatever it does",
    "underscore page": "a page whose name begins with an underscore is published",
    "publisher's password": "every password for __auth__ of the publisher is answered 400",
    "publisher's list": "an __access__ list of one name within a function lets everybody in",
    "PSP of text": "a page that is str raises TypeError",
    "PSP redirect": "psp.redirect appends an error to its page, or runs the error page",
    "PSP status": "SERVER_RETURN in a page is 500",
    "WSGI status": "the status of a WSGI application is sent as 200",
    "CGI body": "a CGI script cannot read a body",
    "CGI location": "a CGI script's Location without a Status is 200",
    # configuration
    "debug page": "the type of PythonDebug's page names no charset",
}

_ABSENT = "raises AttributeError"

# Of the questions of tests/oracle those with different answers: for each list of questions,
# question -> (key of DIFFERENCES, our answer, mod_python's, None if its child ends instead)
ANSWERS = {
    "questions": {
        "allowed": ("allowed", "(None, 129)", "(None, 0)"),
        "log_error None": ("log None", "raises TypeError", "None"),
        "import_module with a path": ("import path", "'beside'", "raises ModuleNotFoundError"),
        "server name": ("server name", "'127.0.0.1'", "'localhost'"),
        "content_encoding is settable": ("content_encoding", "None", _ABSENT),
        "finfo filetype by constant": ("filetype", "True", "raises IndexError"),
        "interpreter of the request": ("interpreter", "''", "'main_interpreter'"),
    },
    "tables": {
        "repr": (
            "table repr",
            """"{'A': '1', 'b': '2', 'a': '3'}\"""",
            """"{'a': '3', 'b': '2', 'A': '1'}\"""",
        ),
        "copy": (
            "table copy",
            "[('A', '1'), ('b', '2'), ('a', '3')]",
            "[('A', '3'), ('b', '2')]",
        ),
        "of a table with repeated keys": (
            "table copy",
            "[('A', '1'), ('b', '2'), ('a', '3')]",
            """[('A', "['1', '3']"), ('b', '2')]""",
        ),
        "popitem": (
            "popitem",
            "(('a', '1'), [('b', '2')])",
            "(('a', '1'), [('a', '1')])",
        ),
        "popitem of repeated": (
            "popitem",
            "(('A', '1'), [('b', '2')])",
            "(('A', '1'), [('A', '1'), ('b', '2')])",
        ),
        "subclass": ("subclass", "'1'", "raises KeyError"),
        "set with a line break": (
            "line break",
            "raises ValueError",
            r"(None, [('a', '1\r\nb: 2')])",
        ),
        "setdefault of a new key": ("setdefault", "('9', [('z', '9')])", None),
    },
    "own": {
        "FieldStorage of short names": (
            "short names",
            "[('a', '1'), ('x_y', '2')]",
            "[('1', '1'), ('2', '2')]",
        ),
        "StringField's file": ("field's file", r"b'\xc3\xa9'", "raises TypeError"),
        "max_age": ("max_age", "'a=b; max-age=5'", "'a=b; max_age=5'"),
        "flag that is off": ("cookie's flag", "'a=b'", "'a=b; secure'"),
        "line break in a cookie": (
            "cookie's line break",
            "raises CookieError",
            r"'a=b\r\nc'",
        ),
        "cookie in quotes": ("quoted cookie", "'\"b'", "'\"b;c\"'"),
        "signed": ("signed cookies", "'value'", "raises TypeError"),
        "signed by another": ("signed cookies", "raises CookieError", "raises TypeError"),
        "marshalled": ("signed cookies", "{'a': [1, 2.5, None]}", "raises AttributeError"),
        "PSP of text": (
            "PSP of text",
            """'req.write(\"\"\"a\"\"\",0); req.write(str( 1 ),0); req.write(\"\"\"\"\"\",0)\\n'""",
            "raises TypeError",
        ),
    },
}


def differs(server: str, name: str) -> bool:
    """Tell whether *server* is the one that does not do *name* as the runtime does."""
    assert name in DIFFERENCES
    return server == "mod_python"
