"""The rivals: mod_python's own sessions, PHP's, Django's, and Flask-Session's."""

import contextlib
import datetime
import dbm
import glob
import importlib.util
import os
import pickle
import sys
import time

from tests.benchmarks._session_cases import TIMEOUT, VALUE, Case

# HANDLERS_BENCH_PHP names mod_php where it is not installed but unpacked
_PHP = os.environ.get("HANDLERS_BENCH_PHP", "/usr/lib/apache2/modules/libphp*.so")
_MOD_PYTHON = "/usr/lib/apache2/modules/mod_python.so"


def _write_files(paths, content: bytes, modified: float) -> None:
    for path in paths:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, content)
        os.close(fd)
        os.utime(path, (modified, modified))


def _stored(accessed: float) -> dict:
    return {"_data": VALUE, "_created": accessed, "_accessed": accessed, "_timeout": TIMEOUT}


class _Stock(Case):
    server = "mod_python"
    kind = ""
    sweep = "own cleanup, mended, at 1 request in 1000"

    @staticmethod
    def missing() -> str | None:
        return None if os.path.exists(_MOD_PYTHON) else "mod_python"

    def directives(self, sweeping):
        # an interpreter in which nobody has replaced mod_python's own sessions
        return (
            f"PythonOption benchmark.cleanup {'on' if sweeping else 'off'}\n"
            "<Location /session/>\nSetHandler mod_python\nPythonInterpreter stock\n"
            f"PythonPath \"['{self.handlers}'] + sys.path\"\nPythonHandler stock_counter\n"
            f"PythonOption mod_python.session.session_type {self.kind}\n"
            f"PythonOption mod_python.session.database_directory {self.place}\n</Location>\n"
        )


class StockFile(_Stock):
    name = "mod_python-FileSession"
    kind = "FileSession"

    def prepare(self):
        for number in range(256):
            os.makedirs(self.place / "mp_sess" / f"{number:02x}", 0o750)

    def fill(self, ids, accessed):
        content = pickle.dumps(_stored(accessed), 2)
        _write_files(map(self._path, ids), content, accessed)

    def expire(self, ids):
        """Also remove the lock that a cleanup killed with its server keeps for an hour."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.place / "mp_sess" / ".mp_sess.lck")
        super().expire(ids)

    def present(self, ids):
        return sum(os.path.exists(self._path(sid)) for sid in ids)

    def _path(self, sid):
        return f"{self.place}/mp_sess/{sid[:2]}/{sid}"


class StockDbm(_Stock):
    name = "mod_python-DbmSession"
    kind = "DbmSession"
    fillers = 1

    def fill(self, ids, accessed):
        content = pickle.dumps(_stored(accessed))
        with dbm.open(f"{self.place}/mp_sess.dbm", "c", 0o640) as db:
            for sid in ids:
                db[sid] = content

    def present(self, ids):
        with dbm.open(f"{self.place}/mp_sess.dbm", "r") as db:
            return sum(sid in db for sid in ids)


class Php(Case):
    name = "php"
    cookie = "PHPSESSID"
    sweep = "own collection at 1 request in 1000"

    @staticmethod
    def missing():
        return None if glob.glob(_PHP) else "libapache2-mod-php"

    def directives(self, sweeping):
        return (
            f"LoadModule php_module {glob.glob(_PHP)[0]}\n"
            f"Alias /session/ {self.handlers}/counter.php\n"
            f"<Directory {self.handlers}>\nRequire all granted\n"
            "SetHandler application/x-httpd-php\n</Directory>\n"
            f"php_admin_value session.save_path {self.place}\n"
            f"php_admin_value session.gc_probability {int(sweeping)}\n"
            "php_admin_value session.gc_divisor 1000\n"
            f"php_admin_value session.gc_maxlifetime {TIMEOUT}\n"
        )

    def fill(self, ids, accessed):
        text = "".join(
            f"{key}|i:{value};" if isinstance(value, int) else f'{key}|s:{len(value)}:"{value}";'
            for key, value in VALUE.items()
        )
        _write_files(map(self._path, ids), text.encode(), accessed)

    def present(self, ids):
        return sum(os.path.exists(self._path(sid)) for sid in ids)

    def _path(self, sid):
        return f"{self.place}/sess_{sid}"


class _Wsgi(Case):
    needs = ""
    hello = "/session/hello"

    @classmethod
    def missing(cls):
        return None if importlib.util.find_spec(cls.needs) else cls.needs

    def script(self, sweeping: bool) -> str:
        """Return the last lines of the entry script."""
        raise NotImplementedError

    def directives(self, sweeping):
        path = self.directory / "site.wsgi"
        path.write_text(
            f"import sys\n\nsys.path.insert(0, {str(self.handlers)!r})\n{self.script(sweeping)}"
        )
        return (
            f"WSGIScriptAlias /session {path} application-group=%{{GLOBAL}}\n"
            "<Location /session/>\nRequire all granted\n</Location>\n"
            f"<Directory {self.directory}>\nRequire all granted\n</Directory>\n"
        )


class _Django(_Wsgi):
    needs = "django"
    cookie = "sessionid"
    sweep = "clearsessions beside, over and over"
    backend = ""

    def script(self, sweeping):
        return (
            "import django_counter\n\n"
            f"application = django_counter.application({self.backend!r}, {str(self.place)!r})\n"
        )

    def beside(self):
        store = self._session_store()
        while True:
            store.clear_expired()

    def _session_store(self):
        sys.path.insert(0, str(self.handlers))
        django_counter = importlib.import_module("django_counter")
        if not django_counter.settings.configured:
            django_counter.configure(self.backend, str(self.place))
        return importlib.import_module(django_counter.settings.SESSION_ENGINE).SessionStore


class DjangoFile(_Django):
    name = "django-file"
    backend = "file"

    def fill(self, ids, accessed):
        store = self._session_store()()
        content = store.encode(VALUE).encode()
        _write_files(map(store._key_to_file, ids), content, accessed)

    def present(self, ids):
        store = self._session_store()()
        return sum(map(store.exists, ids))


class DjangoDb(_Django):
    name = "django-db"
    backend = "db"
    fillers = 1

    def prepare(self):
        self._session_store()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def fill(self, ids, accessed):
        store = self._session_store()
        content = store().encode(VALUE)
        expires = datetime.datetime.fromtimestamp(accessed + TIMEOUT, datetime.UTC)
        model = store.get_model_class()
        model.objects.bulk_create(
            [model(sid, content, expires) for sid in ids],
            batch_size=300,
            update_conflicts=True,
            update_fields=["session_data", "expire_date"],
            unique_fields=["session_key"],
        )

    def present(self, ids):
        objects = self._session_store().get_model_class().objects
        return sum(
            objects.filter(session_key__in=ids[start : start + 500]).count()
            for start in range(0, len(ids), 500)
        )


class Flask(_Wsgi):
    name = "flask-cachelib"
    needs = "flask_session"
    cookie = "session"
    sweep = "cachelib's pruning over its threshold, set to the number of live sessions"

    def script(self, sweeping):
        threshold = self.count if sweeping else 0
        return (
            "import flask_counter\n\n"
            f"application = flask_counter.application({str(self.place)!r}, {threshold})\n"
        )

    def fill(self, ids, accessed):
        cache = self._cache()
        for sid in ids:
            cache.set(f"session:{sid}", VALUE, timeout=int(accessed + TIMEOUT - time.time()))

    def present(self, ids):
        cache = self._cache()
        return sum(os.path.exists(cache._get_filename(f"session:{sid}")) for sid in ids)

    def _cache(self):
        from cachelib.file import FileSystemCache

        return FileSystemCache(str(self.place), threshold=0)


CASES = (StockFile, StockDbm, Php, DjangoFile, DjangoDb, Flask)
