"""The module cache: what is built once, what is forgotten, and what is fetched again."""

import gc
import http.server
import os
import threading
import time
from email.utils import formatdate

import pytest
from mod_python import cache


class Counting(cache.Cache):
    """A cache of numbers of builds."""

    def __init__(self, max_size=0):
        super().__init__(max_size)
        self.built = []
        self.stale = set()

    def key(self, name):
        return name.lower()

    def check(self, key, name, entry):
        return "opened" if key in self.stale else None

    def build(self, key, name, opened, entry):
        self.built.append((key, name, opened))
        return len(self.built)


def test_value_is_built_once_and_again_when_it_is_stale():
    numbers = Counting()
    assert (numbers["A"], numbers["a"], numbers["b"]) == (1, 1, 2)
    numbers.stale.add("a")
    assert numbers["a"] == 3
    assert numbers.built == [("a", "A", None), ("b", "b", None), ("a", "a", "opened")]
    del numbers["B"]
    with pytest.raises(KeyError):
        del numbers["b"]
    numbers["b"] = "set"
    assert numbers["b"] == "set"
    numbers.clear()
    numbers.stale.clear()
    assert numbers["b"] == 4


def test_least_recently_used_goes():
    numbers = Counting(max_size=2)
    assert (numbers.lru(), numbers.mru()) == (None, None)
    assert [numbers[name] for name in "abac"] == [1, 2, 1, 3]
    assert (numbers.lru(), numbers.mru()) == ("a", "c")
    assert [numbers[name] for name in "acb"] == [1, 3, 4]
    del numbers["c"]
    assert (numbers.lru(), numbers.mru()) == ("b", "b")
    assert Counting().lru() is None


def test_one_thread_builds_and_the_others_wait():
    begun, go = threading.Event(), threading.Event()
    built = []

    class Slow(cache.Cache):
        def build(self, key, name, opened, entry):
            built.append(key)
            if key == "slow":
                begun.set()
                assert go.wait(60)
            return key

    slow = Slow()
    threads = [threading.Thread(target=lambda: slow["slow"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    assert slow["other"] == "other"
    go.set()
    for thread in threads:
        thread.join(60)
    assert built == ["slow", "other"]


def test_failure_leaves_no_value():
    class Failing(Counting):
        def build(self, key, name, opened, entry):
            if key in self.stale:
                raise ValueError(key)
            return super().build(key, name, opened, entry)

    numbers = Failing()
    assert numbers["a"] == 1
    numbers.stale.add("a")
    for _ in range(2):
        with pytest.raises(ValueError):
            numbers["a"]
    numbers.stale.clear()
    assert numbers["a"] == 2


def test_abstract_cache_builds_nothing():
    with pytest.raises(NotImplementedError):
        cache.Cache()["a"]


def test_weak_values_go_with_their_last_user():
    class Value:
        pass

    class Weak(cache.WeakCache):
        def build(self, key, name, opened, entry):
            return Value()

    weak = Weak()
    value = weak["a"]
    assert weak["a"] is value
    del value
    gc.collect()
    assert not weak._dict
    assert isinstance(weak["a"], Value)


def rewrite(path, data):
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(data)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return str(path)


def test_files_are_read_again_when_they_change(tmp_path):
    path = rewrite(tmp_path / "a", b"one")
    files = cache.FileCache()
    assert (files[path], files[path]) == (b"one", b"one")
    rewrite(tmp_path / "a", b"two")
    assert files[path] == b"two"
    assert cache.FileCache(mode="r")[path] == "two"
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        files[path]


def test_value_that_is_put_into_a_cache_of_files_stays(tmp_path):
    path = rewrite(tmp_path / "a", b"one")
    files = cache.FileCache()
    files[path] = b"by hand"
    assert files[path] == b"by hand"


def test_modules_are_run_again_when_they_change(tmp_path):
    path = rewrite(tmp_path / "a.py", "# coding: latin-1\nx = 'é'\n".encode("latin-1"))
    modules = cache.ModuleCache()
    first = modules[path]
    assert (first.x, first.__file__, modules[path] is first) == ("é", path, True)
    rewrite(tmp_path / "a.py", b"x = = 1")
    with pytest.raises(SyntaxError) as caught:
        modules[path]
    assert caught.value.filename == path
    rewrite(tmp_path / "a.py", b"x = 3")
    assert modules[path].x == 3


def test_functions_are_called_once_for_each_arguments():
    calls = []
    squared = cache.FunctionCache(lambda x, y=0, **kw: calls.append(x) or x * x + y)
    assert [squared(2), squared(2), squared(2, y=1, z=2), squared(2, z=2, y=1)] == [4, 4, 5, 5]
    assert calls == [2, 2]


def test_dates():
    assert cache.parseRFC822Time("Thu, 01 Jan 1970 00:01:40 GMT") == 100
    for text in ("", "yesterday", "Thu, 99 Jan 1970 00:01:40 GMT"):
        with pytest.raises(ValueError):
            cache.parseRFC822Time(text)


class Origin(http.server.BaseHTTPRequestHandler):
    """Sends what the test has put into the server's ``answer``; keeps the validators it gets."""

    def do_GET(self):
        status, fields, body = self.server.answer
        names = ("If-None-Match", "If-Modified-Since")
        self.server.asked.append([self.headers[name] for name in names])
        self.send_response_only(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def origin():
    with http.server.HTTPServer(("127.0.0.1", 0), Origin) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_entity_is_fetched_again_when_it_has_expired(origin):
    entities = cache.HTTPCache()
    origin.answer = 200, {"Cache-Control": "public, max-age=60", "X-A": "1"}, b"one"
    entity = entities[origin.url]
    assert (entity.entity, str(entity), entity.metadata["X-A"]) == (b"one", "one", "1")
    assert entities[origin.url] is entity
    assert len(origin.asked) == 1
    now = time.time()
    origin.answer = 200, {"Expires": formatdate(now - 5), "Date": formatdate(now)}, b"two"
    entities.clear()
    assert [entities[origin.url].entity for _ in range(2)] == [b"two"] * 2
    assert len(origin.asked) == 3


def test_entity_that_has_not_changed_is_not_sent_again(origin):
    entities = cache.HTTPCache()
    date = formatdate(0, usegmt=True)
    origin.answer = 200, {"ETag": '"a"', "Last-Modified": date}, b"one"
    first = entities[origin.url]
    origin.answer = 304, {}, b""
    assert entities[origin.url] is first
    assert origin.asked == [[None, None], ['"a"', date]]
    origin.answer = 200, {}, b"two"
    assert entities[origin.url].entity == b"two"
    origin.answer = 404, {}, b""
    with pytest.raises(OSError):
        entities[origin.url]


def test_module_from_a_server(origin):
    origin.answer = 200, {}, b"x = 1\r\n"
    assert cache.HttpModuleCache()[origin.url].x == 1
