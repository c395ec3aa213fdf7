"""The files of the file store, and sessions to put into them."""

import os
import time

from handlers.sessions import sid as sids
from handlers.sessions.store import Record


def save(store, sid, data=b"content", timeout=1800, accessed=None, user=None):
    now = time.time() if accessed is None else accessed
    return store.save(sid, Record(data, now, now, timeout, user))


def file_of(store, sid):
    key = sids.key(sid)
    return os.path.join(store.path, key[:2], key)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def files(store):
    return [os.path.join(top, name) for top, _, names in os.walk(store.path) for name in names]
