"""The same handler on mod_python's own sessions, whose cleanup is mended so that it deletes.

Mended is what keeps it from deleting anything on Python 3, and nothing else: FileSession's cleanup
opens pickles as text, and DbmSession's calls a method that no dbm has there.
"""

import builtins
import dbm
import pickle
import time

import _apache
from counter import handler as _handler
from mod_python import Session, apache

_NEVER = 10**12


def _dbm_cleanup(data):
    filename, server = data
    _apache._global_lock(server, None, 0)
    try:
        with dbm.open(filename, "c") as db:
            old = []
            for key in db.keys():  # noqa: SIM118
                session = pickle.loads(db[key])
                if time.time() - session["_accessed"] > session["_timeout"]:
                    old.append(key)
            for key in old:
                del db[key]
    finally:
        _apache._global_unlock(server, None, 0)


def _open(path, mode="rb"):
    return builtins.open(path, mode)


Session.dbm_cleanup = _dbm_cleanup
Session.open = _open
if apache.main_server.get_options().get("benchmark.cleanup") == "off":
    Session.CLEANUP_CHANCE = _NEVER


def handler(req):
    return _handler(req)
