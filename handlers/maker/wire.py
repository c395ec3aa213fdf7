"""What a child and a maker send each other over their socket.

A message is a head of fixed length, a JSON object and bytes. The descriptors that go with it travel
with its first byte (unix(7), SCM_RIGHTS).
"""

import array
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence

import PIL

MESSAGE = b"M"
#: Sent in place of a message by a maker that has used the CPU time of its job: SIGPROF's number.
OUT_OF_TIME = b"\x1b"

_HEAD = struct.Struct("!1sII")
# struct ucred of unix(7): pid, uid, gid
_CREDENTIALS = struct.Struct("3i")
_MOST_DESCRIPTORS = 3
# a job is some hundred bytes, a thumbnail with a copy some megabytes
_LONGEST = 1 << 30


class Ended(Exception):
    """Raised when the other side has closed the connection, or died."""


class OutOfTime(Exception):
    """Raised when the maker says that the CPU time of its job is used up."""


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a connection, when it was made."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid


def socket_name(slot: int) -> str:
    """Return the name of the socket of the maker *slot* in the cache's closed directory."""
    return f"maker-{slot}"


def send(
    connection: socket.socket, said: dict, data: bytes = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send one message.

    :raises OSError: if the other side has gone.
    """
    text = json.dumps(said).encode()
    head = _HEAD.pack(MESSAGE, len(text), len(data)) + text
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    sent = connection.sendmsg([head], beside if descriptors else [])
    # after the last byte the other side may answer and close, and even sending nothing would fail
    if rest := head[sent:] + data:
        connection.sendall(rest)


def receive(
    connection: socket.socket, deadline: float | None = None
) -> tuple[dict, bytes, list[int]]:
    """Return the next message: its object, its bytes, and its descriptors.

    :param deadline: of the monotonic clock; None waits for as long as it takes.
    :raises Ended: if the connection ends before, or holds something else.
    :raises OutOfTime: if that is what the maker says.
    :raises TimeoutError: if the message is not there by the *deadline*.
    """
    received, descriptors = bytearray(), array.array("i")
    try:
        wait(connection, deadline)
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * descriptors.itemsize)
        start, beside, _, _ = connection.recvmsg(_HEAD.size, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, held in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(held[: len(held) // 4 * 4])
        if start[:1] == OUT_OF_TIME:
            raise OutOfTime
        received += start
        _, length, data_length = _HEAD.unpack(_filled(connection, received, _HEAD.size, deadline))
        if received[:1] != MESSAGE or length + data_length > _LONGEST:
            raise Ended("what has come is no message")
        whole = _HEAD.size + length + data_length
        view = memoryview(_filled(connection, received, whole, deadline))
        said = json.loads(bytes(view[_HEAD.size : _HEAD.size + length]))
        return said, bytes(view[_HEAD.size + length :]), list(descriptors)
    except BaseException as error:
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise Ended(str(error)) from error
        raise


def _filled(
    connection: socket.socket, received: bytearray, length: int, deadline: float | None
) -> bytearray:
    """Add to what has been *received* until it has this *length*."""
    while len(received) < length:
        wait(connection, deadline)
        piece = connection.recv(length - len(received))
        if not piece:
            raise Ended("the connection has ended")
        received += piece
    return received


def wait(connection: socket.socket, deadline: float | None) -> None:
    """Wait until something can be received, or the other side has closed the connection.

    :raises TimeoutError: if that is not so by the *deadline* of the monotonic clock.
    """
    if deadline is None:
        return
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError


def _build() -> str:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = [os.path.join(package, part) for part in ("maker", "image")]
    found = [entry for place in places for entry in os.scandir(place) if entry.name[-3:] == ".py"]
    newest = max(entry.stat().st_mtime_ns for entry in found)
    pillow = f"{PIL.__version__} {os.stat(PIL.__file__).st_mtime_ns}"
    return f"{sys.version} {package} {len(found)} {newest} {pillow}"


#: What tells this code from another version's. After an upgrade of the package or of Pillow, and a
#: graceful restart, old makers are still there: a child has one of another build replaced.
BUILD = _build()
