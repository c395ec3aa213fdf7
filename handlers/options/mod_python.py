"""The options that begin with ``mod_python.``: of sessions, and of the requests of any handler."""

from handlers import kinds
from handlers.database import url as database_url
from handlers.kinds import (
    BYTES,
    COUNT,
    FLAG,
    LIST,
    NONE,
    PATH,
    PER_SECOND,
    SECONDS,
    TEXT,
    WAIT,
    Kind,
    Option,
    Words,
)

_DATABASE = Kind(database_url.parse, is_secret=database_url.holds_password)
_STORES = (
    "FileSession",
    "DbmSession",
    "MemorySession",
    "SqlSession",
    "MemcachedSession",
)
_S = "mod_python.session."
_FILE = "mod_python.file_session."
_DBM = "mod_python.dbm_session."

_OF_SESSIONS = (
    Option(
        f"{_S}session_type",
        Kind(kinds.one_of(*_STORES)),
        "FileSession",
        "one of the stores above",
        "SqlSession",
    ),
    Option(f"{_S}cookie_name", TEXT, "pysid", "the cookie", "visitor"),
    Option(
        f"{_S}application_domain",
        TEXT,
        NONE,
        "domain of the cookie; without it, this host only",
        "example.org",
    ),
    Option(
        f"{_S}application_path",
        TEXT,
        Words("the handler's directory; `/` on mod_wsgi"),
        "path of the cookie",
        "/shop",
    ),
    Option(f"{_S}cookie_httponly", FLAG, "on", "keep the cookie from scripts", "off"),
    Option(
        f"{_S}cookie_samesite",
        Kind(kinds.one_of("Lax", "Strict", "None", "off")),
        "Lax",
        "`Lax`, `Strict`, `None` or off",
        "Strict",
    ),
    Option(
        f"{_S}cookie_secure",
        Kind(kinds.flag_or("auto")),
        "auto",
        "send the cookie over https only: on, off, or auto: if the request came by https",
        "on",
    ),
    Option(
        f"{_S}cookie_host_prefix",
        FLAG,
        "off",
        "`__Host-` before the name: https, this host, path `/`",
        "on",
    ),
    Option(
        f"{_S}secret_file",
        PATH,
        NONE,
        "secrets, one a line: the first signs cookies and stored sessions, all of them verify",
        "/etc/modpython-handlers/secrets",
    ),
    Option(
        f"{_S}serializer",
        Kind(kinds.one_of("pickle", "json", "msgpack")),
        "pickle",
        "`pickle`, `json` or `msgpack`; pickle needs `secret_file` in a store that others may "
        "write to",
        "json",
    ),
    Option(
        f"{_S}lock_timeout",
        SECONDS,
        "30",
        "seconds to wait for a session's lock, then an error",
        "5",
    ),
    Option(
        f"{_S}save_after_response", FLAG, "off", "`save()` writes when the response is out", "on"
    ),
    Option(
        f"{_S}store_empty",
        FLAG,
        Words("off"),
        "store a session that was never given a key, and send its cookie, as mod_python does",
        "on",
    ),
    Option(
        f"{_S}user_key",
        TEXT,
        "user",
        "key whose value names the user, for `list` and `purge`",
        "login",
    ),
    Option(
        f"{_S}takeover",
        PATH,
        NONE,
        "mod_python's directory `mp_sess`: sessions found there are taken over at their first use, "
        "or all at once by `sessions takeover`",
        "/tmp/mp_sess",
    ),
    Option(
        f"{_S}takeover_classes", FLAG, "off", "unpickle objects of any class from there, too", "on"
    ),
    Option(
        f"{_S}sweep",
        FLAG,
        "on",
        "this child may be elected to sweep; off where cron does it",
        "off",
    ),
    Option(f"{_S}sweep_interval", WAIT, "60", "seconds between two rounds of the sweep", "300"),
    Option(f"{_S}sweep_rate", PER_SECOND, "600", "deletions per second", "100"),
    Option(f"{_S}max_size", BYTES, "16M", "bytes of a stored session, at most", "1M"),
    Option(
        f"{_S}database_directory",
        PATH,
        Words("the system's directory for temporary files, mostly `/tmp`"),
        "where files lie, in `mp_sessions`",
        "/var/lib/site",
    ),
    Option(f"{_S}sync", FLAG, "off", "FileSession: wait for the disk in every save", "on"),
    Option(
        f"{_S}database",
        _DATABASE,
        NONE,
        "SqlSession: URL of the database",
        "mysql://site:secret@db.example.org/sessions",
    ),
    Option(f"{_S}table", TEXT, "sessions", "SqlSession: the table", "visitors"),
    Option(
        f"{_S}servers",
        LIST,
        "127.0.0.1:11211",
        "MemcachedSession: `host:port` or paths of sockets",
        "10.0.0.5:11211 10.0.0.6:11211",
    ),
    Option(f"{_S}key_prefix", TEXT, "mps:", "MemcachedSession: what its keys begin with", "shop:"),
)

# mod_python's own, under the names it has for them
_OF_MOD_PYTHON = (
    Option(
        f"{_FILE}cleanup_grace_period",
        SECONDS,
        "240",
        "seconds after a session's end that it is deleted",
        "60",
    ),
    Option(f"{_FILE}database_directory", PATH, NONE, "the same for FileSession", "/var/lib/site"),
    Option(f"{_FILE}enable_fast_cleanup", FLAG, "on", "nothing: expiry is exact", "on"),
    Option(f"{_FILE}verify_session_timeout", FLAG, "on", "nothing: expiry is exact", "on"),
    Option(f"{_FILE}cleanup_time_limit", SECONDS, "2", "nothing: no request sweeps", "2"),
    Option(f"{_DBM}database_directory", PATH, NONE, "the same for DbmSession", "/var/lib/site"),
    Option(
        f"{_DBM}database_filename",
        PATH,
        NONE,
        "DbmSession: the dbm file",
        "/var/lib/site/sessions.dbm",
    ),
    Option(
        "mod_python.psp.cache_database_filename",
        PATH,
        NONE,
        "nothing: a child compiles a page once",
        "/var/lib/site/pages.dbm",
    ),
)

_OF_REQUESTS = (
    Option("mod_python.form.memory", BYTES, "512K", "bytes of names and text in all fields", "4M"),
    Option("mod_python.form.fields", COUNT, "1000", "fields, files among them", "5000"),
    Option("mod_python.form.uploads", COUNT, "100", "files", "10"),
    Option(
        "mod_python.form.header",
        BYTES,
        "8K",
        "bytes of the header of one field in a multipart body",
        "2K",
    ),
    Option(
        "mod_python.auth_type",
        Kind(kinds.one_of("Basic")),
        NONE,
        "`Basic` where `AuthType Basic` holds, for `req.get_basic_auth_pw()`",
        "Basic",
    ),
    Option(
        "mod_python.auth_name",
        TEXT,
        NONE,
        "AuthName there: the realm in which browsers ask for a name and password",
        "members",
    ),
    Option(
        "mod_python.addhandler_exts",
        TEXT,
        NONE,
        "extensions of `AddHandler mod_python`, which the publisher cuts off the name of a page",
        "html htm",
    ),
    Option(
        "mod_python.request_rec",
        FLAG,
        "off",
        "read Apache's own structures, and have Apache do what only it can; needs "
        "`WSGIPassApacheRequest On`",
        "on",
    ),
    Option(
        "mod_python.wsgi.application",
        TEXT,
        NONE,
        "`module::callable` that `mod_python.wsgi` runs, `application` without the second part",
        "shop::application",
    ),
    Option(
        "mod_python.wsgi.base_uri",
        TEXT,
        NONE,
        "the part of the path that is the application's SCRIPT_NAME",
        "/shop",
    ),
)

OPTIONS = (*_OF_SESSIONS, *_OF_MOD_PYTHON, *_OF_REQUESTS)
