"""What the bytes of a session mean: pickle, JSON or MessagePack, signed where there is a secret.

The first byte names the form: ``p``, ``j`` or ``m``, in capitals if the HMAC-SHA256 over session id
and content stands between it and the content. Since the id is part of it, content moved from
one session to another is refused, too.

A pickle can run any code when it is read. It is read only where it is the form in use, so that it
must have been written by this program: either it carries a valid MAC, or the store is one that
nobody else can write to.
"""

import functools
import json
import os
import pickle
import stat
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from handlers import access, signing
from handlers.sessions.store import StoreRefused

FORMS = ("pickle", "json", "msgpack")
_MAC_SIZE = 32
_PURPOSE = b"stored session"
_PICKLE_PROTOCOL = 5


class SerialError(ValueError):
    """Raised for bytes that are not a session of ours, and for values the form cannot hold."""


class _Form(NamedTuple):
    tag: bytes
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


class Serializer:
    """Turns the value of a session into bytes and back.

    JSON and MessagePack are read whatever the form in use, so a site can change to one of them at
    any time; a pickle is read only by the form "pickle". JSON makes lists of tuples and text of
    all keys, and holds no bytes.

    :param form: "pickle", "json" or "msgpack" (the extra of that name).
    :param secrets: the first one signs, all of them verify, so that a secret can be replaced;
        with none, nothing is signed, and signed content is refused.
    :param trusted: nobody else can write to the store (:attr:`Store.trusted`).
    :raises ValueError: for pickle without a secret in a store that is not trusted.
    """

    def __init__(self, form: str = "pickle", secrets: Sequence[bytes] = (), trusted: bool = True):
        if form not in FORMS:
            raise ValueError(f"no serialiser {form!r}: there are {', '.join(FORMS)}")
        if form == "pickle" and not secrets and not trusted:
            raise ValueError("pickle needs a secret where others can write to the store")
        self._signer = signing.Signer(signing.keys_for(_PURPOSE, secrets)) if secrets else None
        self._form = _form(form)
        self._readable = {_TAGS[name]: name for name in {"json", "msgpack", form}}
        # the form in use is imported already, the others are if they are met
        self._loads = {self._form.tag: self._form.loads}

    def dumps(self, value: Any, sid: str) -> bytes:
        """Return the bytes for *value* in the session *sid*.

        :raises SerialError: if the form cannot hold the value.
        """
        try:
            content = self._form.dumps(value)
        except (TypeError, ValueError, OverflowError, AttributeError, pickle.PickleError) as error:
            raise SerialError(f"cannot be stored: {error}") from error
        if self._signer is None:
            return self._form.tag + content
        tag = self._form.tag.upper()
        return b"".join((tag, self._signer.sign(_signed(sid, tag, content)), content))

    def loads(self, data: bytes, sid: str) -> Any:
        """Return the value of the bytes stored for the session *sid*.

        :raises SerialError: if they are not whole, not ours, or in a form that is not read.
        """
        tag, content = data[:1], data[1:]
        if self._signer is not None:
            mac, content = content[:_MAC_SIZE], content[_MAC_SIZE:]
            if not self._signer.is_signed(_signed(sid, tag, content), mac):
                raise SerialError("not signed by one of the secrets")
            tag = tag.lower()
        loads = self._loads.get(tag)
        if loads is None:
            name = self._readable.get(tag)
            if name is None:
                raise SerialError("stored in a form that is not read here")
            loads = self._loads[tag] = _form(name).loads
        try:
            return loads(content)
        # a pickle of a class that is gone or has changed raises whatever its code raises
        except Exception as error:
            raise SerialError(f"cannot be read: {error}") from error


def read_secrets(path: str) -> list[bytes]:
    """Return the secrets of a file, one a line; the first one signs, all of them verify.

    :raises StoreRefused: if it cannot be read, others can read or write it, it is another user's,
        or it holds no secret, or one of fewer than 16 bytes.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            lines = file.read().splitlines()
    except OSError as error:
        raise StoreRefused(f"secret_file {path}: {access.why_unreadable(path, error)}") from None
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise StoreRefused(f"secret_file {path}: others can read or change it (chmod 640)")
    secrets = [line.strip() for line in lines if line.strip()]
    if not secrets or min(map(len, secrets)) < signing.SHORTEST_KEY:
        raise StoreRefused(
            f"secret_file {path}: write one secret a line, of {signing.SHORTEST_KEY} bytes or more"
        )
    return secrets


def _signed(sid: str, tag: bytes, content: bytes) -> bytes:
    return b"".join((sid.encode(), b"\0", tag, content))


_TAGS = {"pickle": b"p", "json": b"j", "msgpack": b"m"}


def _form(name: str) -> _Form:
    if name == "pickle":
        dumps = functools.partial(pickle.dumps, protocol=_PICKLE_PROTOCOL)
        return _Form(b"p", dumps, pickle.loads)
    if name == "json":
        return _Form(b"j", _dump_json, json.loads)
    # imported only where it is used: it is an extra
    import msgpack

    return _Form(b"m", msgpack.packb, functools.partial(msgpack.unpackb, strict_map_key=False))


def _dump_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
