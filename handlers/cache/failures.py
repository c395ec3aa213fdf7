"""The memory of sources that no thumbnail can be made of, shared by all children and successors.

One small file for each picture, whatever sizes and formats are asked for: a source that kills its
maker does so at any of them. It is written before the attempt, so that an attempt its process did
not survive counts as well, and unlinked after a success. A source that has changed since is tried
again at once, any other one after a while that differs from file to file, so that they do not all
come back at the same time. A source that is only too large for one thumbnail has a file of that
thumbnail instead.
"""

import contextlib
import json
import logging
import os
import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from handlers import state_directory

log = logging.getLogger(__name__)

_JITTER = 0.25


class FailedBefore(Exception):
    """Raised when a source is known to fail; the message is that of the last failure."""


class Kinds(NamedTuple):
    """What an attempt may raise, by what follows from it."""

    #: Another thumbnail of the source may well be made.
    of_size: type[Exception]
    #: Every attempt at the source would end the same way.
    final: type[Exception]
    #: Its process died, for which the source may be to blame.
    died: type[Exception]


class _Record(NamedTuple):
    source: str = ""
    tries: int = 0
    until: float = 0.0
    why: str = ""


class Failures:
    """Sources that failed, of the cache *directory*.

    :param ttl: seconds that a failure is believed; up to a quarter more, by chance.
    :param tries: how many attempts may end with the death of their process before that counts as
        a failure.
    """

    def __init__(self, directory: str, ttl: float, tries: int):
        self._directory = state_directory.path(directory, "failures")
        self._cache = directory
        self._ttl = ttl
        self._tries = tries

    def check(self, id: str, name: str, source: str) -> None:
        """Raise FailedBefore if the thumbnail *name* of the picture *id* need not be tried.

        The caller holds the picture's lock, see :meth:`handlers.cache.turns.Turns.picture`.

        :param source: text that changes with the source: its path, time, length.
        """
        for key in (id, name):
            record = self._read(key)
            if record is None or record.source != source:
                continue
            if record.until > time.time():
                raise FailedBefore(record.why)
            if not record.until and record.tries >= self._tries:
                log.warning("picture %s: given up after %d attempts", id, record.tries)
                self._remember(key, record)
                raise FailedBefore(record.why)

    @contextlib.contextmanager
    def attempt(self, id: str, name: str, source: str, kinds: Kinds) -> Iterator[None]:
        """Count an attempt at the picture *id* until the with block has ended.

        What else the block raises, for want of time or of disk space, is not the source's fault and
        does not count.

        :param name: of the thumbnail.
        :raises OSError: if the cache cannot be written; nothing was attempted then.
        """
        before = self._read(id)
        if before is None or before.source != source or before.until:
            before = _Record(source)
        record = before._replace(tries=before.tries + 1, why="its process died")
        self._write(id, record)
        try:
            yield
        except kinds.of_size as error:
            self._restore(id, before)
            self._remember(name, _Record(source, why=str(error)))
            raise
        except kinds.final as error:
            self._remember(id, record._replace(why=str(error)))
            raise
        except kinds.died as error:
            self._write(id, record._replace(why=str(error)))
            raise
        except BaseException:
            self._restore(id, before)
            raise
        self._forget(id)

    def _restore(self, id: str, before: _Record) -> None:
        if before.tries:
            self._write(id, before)
        else:
            self._forget(id)

    def _forget(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(key))

    def _remember(self, key: str, record: _Record) -> None:
        until = time.time() + self._ttl * random.uniform(1, 1 + _JITTER)
        self._write(key, record._replace(until=until))

    def _path(self, key: str) -> str:
        return os.path.join(self._directory, key.replace("/", "~"))

    def _read(self, key: str) -> _Record | None:
        try:
            with open(self._path(key), encoding="utf-8") as file:
                return _Record(*json.load(file))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # its writer was killed in the middle, so it was an attempt
            return None

    def _write(self, key: str, record: _Record) -> None:
        state_directory.ensure(self._cache, "failures")
        with open(self._path(key), "w", encoding="utf-8", opener=state_directory.opener) as file:
            json.dump(record, file)
