"""The memory of what cannot be made, shared by all children and their successors.

One small file for each thumbnail that failed. It is written before the attempt, so that an attempt
its process did not survive counts as well, and unlinked after a success. A source that has changed
since is tried anew at once, any other one after a while that differs from file to file, so that
they do not all come back at the same time.
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
    """Raised when a thumbnail is known to fail; the message is that of the last failure."""


class _Record(NamedTuple):
    source: str = ""
    tries: int = 0
    until: float = 0.0
    why: str = ""


class Failures:
    """Failed thumbnails of the cache *directory*.

    :param ttl: seconds that a failure is believed; up to a quarter more, by chance.
    :param tries: how many attempts may end with the death of their process before that counts as
        a failure.
    """

    def __init__(self, directory: str, ttl: float, tries: int):
        self._directory = state_directory.path(directory, "failures")
        self._cache = directory
        self._ttl = ttl
        self._tries = tries

    def check(self, name: str, source: str) -> None:
        """Raise FailedBefore if the thumbnail *name* of this *source* need not be tried.

        The caller holds the thumbnail's lock.

        :param source: text that changes with the source: its path, time, length.
        """
        record = self._read(name)
        if record is None or record.source != source:
            return
        if record.until > time.time():
            raise FailedBefore(record.why)
        if not record.until and record.tries >= self._tries:
            log.warning("thumbnail %s: given up after %d attempts", name, record.tries)
            self._remember(name, record)
            raise FailedBefore(record.why)

    @contextlib.contextmanager
    def attempt(
        self, name: str, source: str, final: type[Exception], died: type[Exception]
    ) -> Iterator[None]:
        """Count an attempt to make *name* until the with block has ended.

        What else the block raises, for want of time or of disk space, is not the source's fault and
        does not count.

        :param final: what the block raises if another attempt would end the same way.
        :param died: what it raises if its process died, for which the source may be to blame.
        :raises OSError: if the cache cannot be written; nothing was attempted then.
        """
        before = self._read(name)
        if before is None or before.source != source or before.until:
            before = _Record(source)
        record = before._replace(tries=before.tries + 1, why="its process died")
        self._write(name, record)
        try:
            yield
        except final as error:
            self._remember(name, record._replace(why=str(error)))
            raise
        except died as error:
            self._write(name, record._replace(why=str(error)))
            raise
        except BaseException:
            if before.tries:
                self._write(name, before)
            else:
                self._forget(name)
            raise
        self._forget(name)

    def _forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def _remember(self, name: str, record: _Record) -> None:
        until = time.time() + self._ttl * random.uniform(1, 1 + _JITTER)
        self._write(name, record._replace(until=until))

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name.replace("/", "~"))

    def _read(self, name: str) -> _Record | None:
        try:
            with open(self._path(name), encoding="utf-8") as file:
                return _Record(*json.load(file))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # its writer was killed in the middle, so it was an attempt
            return None

    def _write(self, name: str, record: _Record) -> None:
        state_directory.ensure(self._cache, "failures")
        with open(self._path(name), "w", encoding="utf-8", opener=state_directory.opener) as file:
            json.dump(record, file)
