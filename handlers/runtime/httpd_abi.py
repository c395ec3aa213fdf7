"""What httpd looks like from C: the layout of its structures, their memory, and its functions.

Apache keeps the layout within a major module magic number: all releases of 2.4 have 20120211, and
fields were only added at the ends. This module declares the fields up to the last one that all of
them have, and the functions of Apache that handlers lead to.
"""

import ctypes
import os

MAGIC = 20120211
POINTER = ctypes.sizeof(ctypes.c_void_p)
_PAGE = 4096
_LONGEST = 1 << 20
_TYPES = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "u": ctypes.c_uint,
    "q": ctypes.c_int64,
    "l": ctypes.c_long,
    "b": ctypes.c_byte,
    "h": ctypes.c_ushort,
}


class Unusable(Exception):
    """Raised when the structures of this httpd cannot be read; the message says why."""


def _structure(name: str, declared: str, **inner) -> type[ctypes.Structure]:
    """Return a structure whose fields are laid out as the C compiler does it.

    :param declared: a letter of a type, then names of fields, and so on.
    :param inner: types of fields that are structures themselves.
    """
    kind, fields = None, []
    for word in declared.split():
        if len(word) == 1:
            kind = _TYPES[word]
        else:
            fields.append((word, inner.get(word, kind)))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Array = _structure("Array", "p pool i elt_size nelts nalloc p elts")
Uri = _structure(
    "Uri",
    "p scheme hostinfo user password hostname port_str path query fragment hostent h port u bits",
)
FileInfo = _structure(
    "FileInfo",
    "p pool i valid protection filetype u user group q inode device i nlink q size csize "
    "q atime mtime ctime p fname name filehand",
)
Address = _structure("Address", "p pool hostname servname h port")
Levels = _structure("Levels", "p module_levels i level")
Methods = _structure("Methods", "q mask p names")
Module = _structure("Module", "i version minor_version module_index")
Filter = _structure("Filter", "p frec ctx next")
FilterKind = _structure("FilterKind", "p name")
Score = _structure("Score", "i server_limit thread_limit generation q restart_time")
RequestRec = _structure(
    "RequestRec",
    "p pool connection server next prev main the_request i assbackwards proxyreq header_only "
    "proto_num p protocol hostname q request_time p status_line i status method_number p method "
    "q allowed p allowed_xmethods allowed_methods q sent_bodyct bytes_sent mtime p range q clength "
    "i chunked read_body read_chunked u expecting_100 p kept_body body_table q remaining "
    "read_length p headers_in headers_out err_headers_out subprocess_env notes content_type "
    "handler content_encoding content_languages vlist_validator user ap_auth_type unparsed_uri uri "
    "filename canonical_filename path_info args i used_path_info eos_sent p per_dir_config "
    "request_config log log_id htaccess output_filters input_filters proto_output_filters "
    "proto_input_filters i no_cache no_local_copy p invoke_mtx parsed_uri finfo useragent_addr "
    "useragent_ip",
    parsed_uri=Uri,
    finfo=FileInfo,
)
ConnRec = _structure(
    "ConnRec",
    "p pool base_server vhost_lookup_data local_addr client_addr client_ip remote_host "
    "remote_logname local_ip local_host l id p conn_config notes input_filters output_filters sbh "
    "bucket_alloc cs i data_in_input_filters data_in_output_filters u bits aborted i keepalive "
    "keepalives",
)
ServerRec = _structure(
    "ServerRec",
    "p process next error_fname error_log log module_config lookup_defaults defn_name "
    "u defn_line_number b is_virtual h port p server_scheme server_admin server_hostname addrs "
    "q timeout keep_alive_timeout i keep_alive_max keep_alive p names wild_names path i pathlen "
    "limit_req_line limit_req_fieldsize limit_req_fields",
    log=Levels,
)
_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
# what each of Apache's functions that are used here returns, and takes
_SIGNATURES: dict[str, tuple] = {
    "apr_table_set": (None, _P, _S, _S),
    "apr_table_add": (None, _P, _S, _S),
    "apr_table_unset": (None, _P, _S),
    "apr_table_clear": (None, _P),
    "apr_pstrdup": (_P, _P, _S),
    "ap_die": (None, _I, _P),
    "ap_internal_redirect": (None, _S, _P),
    "ap_log_rerror_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_log_cerror_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_log_error_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_auth_type": (_S, _P),
    "ap_auth_name": (_S, _P),
    "ap_get_basic_auth_pw": (_I, _P, ctypes.POINTER(_S)),
    "ap_note_auth_failure": (None, _P),
    "ap_construct_url": (_S, _P, _S, _P),
    "ap_get_remote_host": (_S, _P, _P, _I, ctypes.POINTER(_I)),
    "ap_meets_conditions": (_I, _P),
    "ap_make_etag": (_S, _P, _I),
    "ap_update_mtime": (None, _P, ctypes.c_int64),
    "ap_document_root": (_S, _P),
    "ap_allow_options": (_I, _P),
    "apr_brigade_create": (_P, _P, _P),
    "apr_brigade_write": (_I, _P, _P, _P, _S, ctypes.c_size_t),
    "apr_brigade_length": (_I, _P, _I, ctypes.POINTER(ctypes.c_int64)),
    "apr_brigade_flatten": (_I, _P, _P, ctypes.POINTER(ctypes.c_size_t)),
    "apr_brigade_cleanup": (_I, _P),
    "ap_get_brigade": (_I, _P, _P, _I, _I, ctypes.c_int64),
    "ap_fflush": (_I, _P, _P),
    "ap_hook_process_connection": (None, _P, _P, _P, _I),
    "apr_hook_sort_all": (None,),
    "ap_mpm_query": (_I, _I, ctypes.POINTER(_I)),
}


class Direct:
    """Memory that is known to be right."""

    @staticmethod
    def structure(kind, address):
        return kind.from_address(address)

    string = staticmethod(ctypes.string_at)


class Probe:
    """Memory that may not be there: it is copied through a pipe, which a bad address fails."""

    def __init__(self):
        self._ends = os.pipe()
        self._write = ctypes.CDLL(None).write
        self._write.argtypes = (_I, _P, ctypes.c_size_t)

    def close(self):
        for end in self._ends:
            os.close(end)

    def _copy(self, address, size):
        # a pipe holds at least a page
        copied = b""
        while len(copied) < size:
            written = self._write(self._ends[1], address + len(copied), min(size, _PAGE))
            if written <= 0:
                raise Unusable("an address leads nowhere")
            copied += os.read(self._ends[0], written)
        return copied[:size]

    def structure(self, kind, address):
        return kind.from_buffer_copy(self._copy(address, ctypes.sizeof(kind)))

    def string(self, address):
        found = b""
        while len(found) < _LONGEST:
            # no further than the page, behind which there may be nothing
            at = address + len(found)
            text, end, _ = self._copy(at, _PAGE - at % _PAGE).partition(b"\0")
            found += text
            if end:
                return found
        raise Unusable("a text without an end")


_found: dict = {}


def functions() -> dict:
    """Return Apache's functions by their names.

    :raises Unusable: if httpd lacks one.
    """
    if not _found:
        # symbols of data have their right address there alone
        lib = ctypes.CDLL(None)
        try:
            found = {name: getattr(lib, name) for name in _SIGNATURES}
            found["ap_allow_methods"] = lib.ap_allow_methods
        except AttributeError as error:
            raise Unusable(f"this httpd lacks a function: {error}") from None
        for name, (result, *arguments) in _SIGNATURES.items():
            found[name].restype, found[name].argtypes = result, arguments
        found["ap_allow_methods"].restype = None
        _found.update(found)
    return _found


def call(name: str, *arguments):
    """Call one of Apache's functions; bytes stand for its text.

    :raises ValueError: for NUL in a text.
    """
    for argument in arguments:
        if argument.__class__ is bytes and b"\0" in argument:
            raise ValueError("embedded null byte")
    return functions()[name](*arguments)


def check_process() -> None:
    """Go on if this process is an httpd whose layout is declared here.

    :raises Unusable: otherwise.
    """
    try:
        module = Module.in_dll(ctypes.CDLL(None), "core_module")
    except ValueError:
        raise Unusable("this process is no httpd") from None
    check_magic(module.version)
    functions()


def check_magic(version: int) -> None:
    """Go on if this major magic number is the one whose layout is declared here.

    :raises Unusable: otherwise.
    """
    if version != MAGIC:
        raise Unusable(f"its module magic number is {version}, not {MAGIC}")
    if POINTER != 8:
        raise Unusable("the layout was measured on 64-bit systems only")


def query_generation() -> int:
    """Return how often httpd was restarted since its start."""
    generation = _I()
    # AP_MPMQ_GENERATION
    call("ap_mpm_query", 15, ctypes.byref(generation))
    return generation.value


def restart_time() -> int:
    """Return when httpd was started or restarted last, in microseconds since 1970.

    :raises Unusable: if the scoreboard is not laid out as it is declared here.
    """
    board = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "ap_scoreboard_image").value
    score = Score.from_address(ctypes.c_void_p.from_address(board).value)
    if score.generation != query_generation():
        raise Unusable("the scoreboard has another layout")
    return score.restart_time
