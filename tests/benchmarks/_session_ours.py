"""The cases of this package's own stores."""

import dbm
import os
import time

from handlers.database.url import parse
from handlers.sessions import open_store, slots
from handlers.sessions import sid as sids
from handlers.sessions.mysql import MysqlStore
from handlers.sessions.serial import Serializer
from handlers.sessions.sql import period_end
from handlers.sessions.store import Record
from handlers.sessions.sweep import Pace
from tests.benchmarks._session_cases import TIMEOUT, VALUE, Case
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached

_BATCH = 500


class Ours(Case):
    """The runtime on mod_wsgi with one of its stores; *options* as in settings.ini."""

    kind = ""
    serializer = "pickle"
    sweep = "own sweeper"

    def options(self) -> dict[str, str]:
        """Return the options of the store."""
        return {"database_directory": str(self.place)}

    def store(self):
        """Open the store."""
        return open_store(
            self.kind, {f"mod_python.session.{key}": text for key, text in self.options().items()}
        )

    def directives(self, sweeping):
        path = f"['{self.handlers}'] + sys.path"
        return (
            "<Location /session/>\nSetHandler mod_python\n"
            f'SetEnv PythonPath "{path}"\nSetEnv PythonHandler counter\n</Location>\n'
        )

    def settings(self, sweeping):
        options = self.options() | {
            "session_type": f"{self.kind.capitalize()}Session",
            "serializer": self.serializer,
            "sweep": "on" if sweeping else "off",
            # the next round begins when one is through
            "sweep_interval": "1",
        }
        return "".join(f"mod_python.session.{key} = {value}\n" for key, value in options.items())

    def fill(self, ids, accessed):
        store, serializer = self.store(), Serializer(self.serializer)
        for sid in ids:
            data = serializer.dumps(VALUE, sid)
            store.save(sid, Record(data, accessed, accessed, TIMEOUT))
        store.close()

    def full_sweep(self) -> tuple[float, int]:
        """Sweep without rests; return the CPU seconds and the number of deletions."""
        store, started = self.store(), time.process_time()
        swept = store.sweep(Pace.flat_out(), 240)
        return time.process_time() - started, swept.deleted


class File(Ours):
    name = "file"
    kind = "file"

    def present(self, ids):
        keys = map(sids.key, ids)
        return sum(os.path.exists(f"{self.place}/mp_sessions/{key[:2]}/{key}") for key in keys)


class FileOnModPython(File):
    name = "file-on-mod_python"
    server = "mod_python"

    def directives(self, sweeping):
        return (
            "<Location /session/>\nSetHandler mod_python\n"
            # the interpreter that knows the settings file
            "PythonInterpreter main_interpreter\n"
            f"PythonPath \"['{self.handlers}'] + sys.path\"\nPythonHandler counter\n</Location>\n"
        )


class Dbm(Ours):
    name = "dbm"
    kind = "dbm"
    fillers = 1

    def fill(self, ids, accessed):
        serializer = Serializer(self.serializer)
        with dbm.open(self.store().path, "c", 0o600) as db:
            for number, sid in enumerate(ids):
                key = sids.key(sid)
                record = Record(serializer.dumps(VALUE, sid), accessed, accessed, TIMEOUT)
                db[key] = slots.pack(key, record, b"", number + 1)

    def present(self, ids):
        with dbm.open(self.store().path, "r") as db:
            return sum(sids.key(sid) in db for sid in ids)


class _Sql(Ours):
    kind = "sql"
    fillers = 1

    def fill(self, ids, accessed):
        store, serializer = self.store(), Serializer(self.serializer)
        after = store._sweep_after(accessed + TIMEOUT)
        self.insert(
            sorted(
                (sids.key(sid), after, accessed, accessed, TIMEOUT, number, None, data)
                for number, sid in enumerate(ids)
                for data in [serializer.dumps(VALUE, sid)]
            )
        )

    def present(self, ids):
        store = self.store()
        return sum(
            store._run("SELECT COUNT(*) FROM {table} WHERE id = %s", sids.key(sid))[1][0][0]
            for sid in ids
        )

    def insert(self, rows) -> None:
        """Insert rows of the table, in the order of its primary key."""
        store = self.store()
        columns = "(id, sweep_after, created, accessed, timeout, version, username, data)"
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            marks = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s)"] * len(batch))
            values = [value for row in batch for value in row]
            store._run(f"REPLACE INTO {{table}} {columns} VALUES {marks}", *values)
        store.close()


class Sqlite(_Sql):
    name = "sqlite"

    def options(self):
        database = f"sqlite:///{self.place}/sessions.db"
        return {"database_directory": str(self.place), "database": database}


class Mariadb(_Sql):
    name = "mariadb"
    serializer = "json"

    def open(self, stack):
        megabytes = 128 + self.count // 400
        server = MariaDB(
            self.directory / "db",
            options=[
                f"--innodb-buffer-pool-size={megabytes}M",
                "--innodb-log-file-size=256M",
                "--max-allowed-packet=16M",
            ],
        )
        stack.enter_context(server)
        server.execute("CREATE DATABASE sessions")
        self._database = server.url("sessions")
        MysqlStore(parse(self._database)).create()

    def options(self):
        return {"database_directory": str(self.place), "database": self._database}

    def expire(self, ids):
        """Store them in a partition of the past, as if they had been there when it was made."""
        store, old = self.store(), period_end(time.time() - 2 * TIMEOUT)
        first = store._partition_ends()[0]
        if first > old:
            parts = (f"PARTITION p{end} VALUES LESS THAN ({end + 1})" for end in (old, first))
            change = f"REORGANIZE PARTITION p{first} INTO ({', '.join(parts)})"
            store._run(f"ALTER TABLE {{table}} {change}")
        store.close()
        super().expire(ids)


class MemcachedCase(Ours):
    name = "memcached"
    kind = "memcached"
    serializer = "json"
    sweep = "the server's own expiry"

    def open(self, stack):
        megabytes = 64 + self.count // 400
        self._address = stack.enter_context(Memcached(megabytes)).address

    def options(self):
        return {"database_directory": str(self.place), "servers": self._address}

    def present(self, ids):
        store = self.store()
        return sum(store.load(sid) is not None for sid in ids)


CASES = (File, FileOnModPython, Dbm, Sqlite, Mariadb, MemcachedCase)
