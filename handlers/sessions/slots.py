"""The binary form of a session: a header, the user's name, the data, under one checksum.

The checksum starts from the session's key, so that a record in another session's place is as
invalid as a torn one. Little-endian; one form for every store that keeps bytes.
"""

import functools
import struct
import zlib

from handlers.sessions.store import Record

MAGIC = b"mps1"
# magic, checksum, sequence, created, accessed, timeout, capacity, length of data, of user
_HEADER = struct.Struct("<4sIQdddIIH2x")
_START, _CHECKED = struct.Struct("<4sI"), struct.Struct("<QdddIIH2x")
_SEQUENCE = 2
_CAPACITY = 6
_CHECKED_FROM = _START.size
# a call of Python less for each session than Record(...)
_record = functools.partial(tuple.__new__, Record)
HEADER_SIZE = _HEADER.size


def pack(key: str, record: Record, user: bytes, version: int, capacity: int = 0) -> bytes:
    """Return the bytes of *record* with the sequence number *version* and its user encoded."""
    data, created, accessed, timeout, *_ = record
    lengths = len(data), len(user)
    checked = _CHECKED.pack(version, created, accessed, timeout, capacity, *lengths) + user + data
    return _START.pack(MAGIC, zlib.crc32(checked, zlib.crc32(key.encode()))) + checked


def unpack(blob: bytes, key: str, offset: int = 0) -> tuple[Record, int, int] | None:
    """Return the record at *offset*, that offset, and the bytes set aside for the record.

    :return: None if there is no whole record of that key.
    """
    if not 0 <= offset <= len(blob) - HEADER_SIZE:
        return None
    return _checked(blob, key, offset, _HEADER.unpack_from(blob, offset))


def newest(blob: bytes, key: str) -> tuple[Record, int, int] | None:
    """Return what :func:`unpack` finds for the newer valid record of a file of two slots.

    Only the slot that claims to be newer is checked. If it was torn by a crash, the other one is
    taken: the version before it. None if neither is whole.
    """
    half = len(blob) // 2
    if half < HEADER_SIZE:
        return unpack(blob, key)
    header = _HEADER.unpack_from(blob, 0)
    # a file cut short by a crash has its second slot where the first one says, not in the middle
    first, second = 0, header[_CAPACITY] if header[0] == MAGIC else half
    if second <= len(blob) - HEADER_SIZE:
        other = _HEADER.unpack_from(blob, second)
        if other[0] == MAGIC and (other[_SEQUENCE] > header[_SEQUENCE] or header[0] != MAGIC):
            first, second, header = second, first, other
    found = _checked(blob, key, first, header)
    if found is not None:
        return found
    others = [slot for offset in {second, half} if (slot := unpack(blob, key, offset))]
    return max(others, key=lambda slot: slot[0].version, default=None)


def _checked(blob: bytes, key: str, offset: int, header: tuple) -> tuple[Record, int, int] | None:
    magic, checksum, version, created, accessed, timeout, capacity, length, named = header
    start = offset + HEADER_SIZE + named
    end = start + length
    if magic != MAGIC or end > len(blob):
        return None
    if zlib.crc32(blob[offset + _CHECKED_FROM : end], zlib.crc32(key.encode())) != checksum:
        return None
    try:
        user = blob[start - named : start].decode() if named else None
    except UnicodeDecodeError:
        return None
    record = _record((blob[start:end], created, accessed, timeout, user, version))
    return record, offset, capacity
