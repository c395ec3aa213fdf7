import email.utils
import logging
import os
import time
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from handlers.mod_python import apache
from handlers.runtime.entry import handle_request
from tests.wsgi import named, serve


def handler_of(*statements):
    def handler(req):
        req.content_type = "text/plain"
        for statement in statements:
            statement(req)
        return apache.OK

    return handler


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"0123456789")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_each_write_goes_out_at_once():
    seen = []

    def handler(req):
        req.content_type = "text/plain"
        req.write("one")
        seen.append(req.bytes_sent)
        req.write(b"two")
        seen.append(req.bytes_sent)
        return apache.OK

    answer = serve(handler)
    assert answer.blocks == [b"one", b"two"]
    assert answer["Content-Length"] is None
    assert seen == [3, 6]


def test_write_without_flush_waits_and_gets_a_length():
    answer = serve(handler_of(lambda req: req.write("one", 0), lambda req: req.write("two", 0)))
    assert answer.blocks == [b"onetwo"]
    assert answer["Content-Length"] == "6"


def test_much_output_that_waits_is_sent_on_its_own():
    answer = serve(handler_of(*[lambda req: req.write(b"x" * 50000, 0)] * 3))
    assert [len(block) for block in answer.blocks] == [100000, 50000]


def test_flush_sends_what_waits_and_the_headers():
    answer = serve(
        handler_of(
            lambda req: req.write("one", 0),
            lambda req: req.flush(),
            lambda req: req.headers_out.add("X-Late", "1"),
            lambda req: req.write("two", 0),
        )
    )
    assert answer.blocks == [b"one", b"two"]
    assert answer["X-Late"] is None


def test_writing_nothing_sends_no_headers():
    answer = serve(handler_of(lambda req: req.write(""), lambda req: setattr(req, "status", 404)))
    assert answer.status == "404 Not Found"


@pytest.mark.parametrize("data", [5, None, bytearray(b"x"), ["x"]])
def test_only_text_and_bytes_can_be_written(caplog, data):
    assert serve(handler_of(lambda req: req.write(data))).status[:3] == "500"
    assert "TypeError" in caplog.text


def test_both_header_tables_go_out_with_repeated_fields():
    def handler(req):
        req.headers_out["X-Name"] = "café"
        req.headers_out.add("Set-Cookie", "a=1")
        req.headers_out.add("Set-Cookie", "b=2")
        req.err_headers_out["X-Err"] = "e"
        req.content_type = "text/plain"
        return apache.OK

    answer = serve(handler)
    cookies = [value for name, value in answer.headers if name == "Set-Cookie"]
    assert cookies == ["a=1", "b=2"]
    assert (answer["X-Name"], answer["X-Err"]) == ("café", "e")


def test_content_type_wins_over_the_header_table():
    answer = serve(handler_of(lambda req: req.headers_out.add("content-type", "text/css")))
    assert answer["Content-Type"] == "text/plain"


def test_type_of_the_header_table_is_sent_if_no_other_is_set():
    def handler(req):
        req.headers_out["Content-Type"] = "text/css"
        return apache.OK

    assert serve(handler)["Content-Type"] == "text/css"


def test_mod_wsgi_is_left_to_find_the_type_itself():
    def handler(req):
        req.write("x")
        return apache.OK

    answers = []
    environ = {"PythonHandler": named(handler), "mod_wsgi.version": (6, 1, 1)}
    setup_testing_defaults(environ)
    handle_request(environ, lambda status, rows: answers.append(rows) or (lambda data: None))
    assert answers == [[]]


def test_error_keeps_err_headers_out_and_drops_headers_out():
    def handler(req):
        req.headers_out["Cache-Control"] = "max-age=5"
        req.headers_out["Content-Length"] = "3"
        req.content_encoding = "x-foo"
        req.err_headers_out["Retry-After"] = "5"
        return apache.HTTP_SERVICE_UNAVAILABLE

    answer = serve(handler)
    assert answer.status == "503 Service Unavailable"
    assert answer["Retry-After"] == "5"
    assert answer["Cache-Control"] is answer["Content-Encoding"] is None
    assert answer["Content-Length"] == str(len(answer.body))
    assert answer["Content-Type"] == "text/html; charset=iso-8859-1"


def test_redirect_keeps_location_and_links_to_it():
    def handler(req):
        req.headers_out["Location"] = "/a?b=<c>"
        return apache.HTTP_MOVED_TEMPORARILY

    answer = serve(handler)
    assert (answer.status, answer["Location"]) == ("302 Found", "/a?b=<c>")
    assert b'href="/a?b=&lt;c&gt;"' in answer.body


def test_not_modified_keeps_its_validators_and_has_no_body():
    def handler(req):
        req.content_type = "text/plain"
        req.headers_out["ETag"] = '"x"'
        req.headers_out["Content-Length"] = "5"
        req.write("dropped", 0)
        return apache.HTTP_NOT_MODIFIED

    answer = serve(handler)
    assert (answer.status, answer["ETag"], answer.body) == ("304 Not Modified", '"x"', b"")
    assert answer["Content-Length"] is answer["Content-Type"] is None


def test_status_without_body_sends_none():
    answer = serve(handler_of(lambda req: setattr(req, "status", 204), lambda req: req.write("x")))
    assert (answer.status, answer.body) == ("204 No Content", b"")


def test_405_tells_what_is_allowed():
    def handler(req):
        req.allow_methods(["GET", "POST"])
        return apache.HTTP_METHOD_NOT_ALLOWED

    assert serve(handler)["Allow"] == "GET, POST, HEAD"
    assert serve(lambda req: 405)["Allow"] == ""


def test_allow_that_the_handler_set_is_sent_once():
    def handler(req):
        req.headers_out["Allow"] = req.err_headers_out["Allow"] = "GET"
        return apache.HTTP_METHOD_NOT_ALLOWED

    assert serve(handler)["Allow"] == "GET"


def test_own_status_line_is_sent():
    answer = serve(handler_of(lambda req: setattr(req, "status_line", "299 Fine")))
    assert answer.status == "299 Fine"


def test_no_cache_expires_at_once():
    answer = serve(handler_of(lambda req: setattr(req, "no_cache", 1)))
    assert abs(email.utils.parsedate_to_datetime(answer["Expires"]).timestamp() - time.time()) < 9


def test_head_has_headers_and_no_body(file):
    for send in (lambda req: req.write("12345", 0), lambda req: req.sendfile(str(file), 5)):
        answer = serve(handler_of(send), REQUEST_METHOD="HEAD")
        assert (answer.body, answer["Content-Length"]) == (b"", "5")
    answer = serve(handler_of(lambda req: req.write("12345")), REQUEST_METHOD="HEAD")
    assert (answer.body, answer["Content-Length"]) == (b"", None)
    answer = serve(lambda req: 404, REQUEST_METHOD="HEAD")
    assert (answer.status, answer.body) == ("404 Not Found", b"")


@pytest.mark.parametrize(
    "arguments, body",
    [
        ((), b"0123456789"),
        ((4,), b"456789"),
        ((4, 3), b"456"),
        ((4, 300), b"456789"),
        ((20,), b""),
        ((0, 0), b""),
        ((0, -1), b"0123456789"),
    ],
)
@pytest.mark.parametrize("wrapper", [None, FileWrapper])
def test_file_is_sent_with_its_length(file, arguments, body, wrapper):
    sent = []
    answer = serve(
        handler_of(lambda req: sent.append(req.sendfile(str(file), *arguments))),
        **({"wsgi__file_wrapper": wrapper} if wrapper else {}),
    )
    assert answer.body == body
    assert answer["Content-Length"] == str(len(body))
    assert sent == [len(body)]


def test_file_between_writes_is_copied_in_order(file):
    answer = serve(
        handler_of(
            lambda req: req.write("<", 0),
            lambda req: req.sendfile(str(file), 8),
            lambda req: req.sendfile(str(file), 0, 2),
            lambda req: req.write(">"),
        )
    )
    assert answer.body == b"<8901>"


def test_second_thought_after_a_file_keeps_the_order(file):
    send = handler_of(lambda req: req.sendfile(str(file)), lambda req: req.write("!"))
    assert serve(send).body == b"0123456789!"
    twice = handler_of(*[lambda req: req.sendfile(str(file), 9)] * 2)
    assert serve(twice).body == b"99"


def test_what_is_no_regular_file_cannot_be_sent(tmp_path, caplog):
    os.mkfifo(tmp_path / "fifo")
    failures = []

    def handler(req):
        for name in ("missing", ".", "fifo"):
            with pytest.raises(OSError) as failure:
                req.sendfile(str(tmp_path / name))
            failures.append(failure)
        with pytest.raises(ValueError):
            req.sendfile(str(tmp_path), -1)
        return apache.HTTP_NO_CONTENT

    assert serve(handler).status == "204 No Content"
    assert len(failures) == 3


def test_error_after_a_file_drops_the_file(file):
    def handler(req):
        req.sendfile(str(file))
        return apache.HTTP_NOT_FOUND

    answer = serve(handler)
    assert answer.status == "404 Not Found"
    assert b"0123" not in answer.body


@pytest.mark.parametrize("result", [apache.OK, apache.HTTP_NOT_FOUND])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("how", ["nothing", "write", "wait", "file"])
def test_cleanups_run_after_the_last_byte_the_latest_first(file, result, method, how):
    order = []

    def handler(req):
        req.content_type = "text/plain"
        req.register_cleanup(order.append, "first")
        req.register_cleanup(order.append)
        if how == "file":
            req.sendfile(str(file))
        elif how != "nothing":
            req.write("x", how == "write")
        return result

    environ = {"PythonHandler": named(handler), "REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    answer = handle_request(environ, lambda status, headers: lambda data: None)
    list(answer)
    assert order == []
    answer.close()
    assert order == [None, "first"]


def test_cleanup_that_fails_is_logged_and_the_others_run(caplog):
    order = []
    serve(
        handler_of(
            lambda req: req.register_cleanup(order.append, 1),
            lambda req: req.register_cleanup(lambda data: 1 / 0),
        )
    )
    assert order == [1]
    assert "ZeroDivisionError" in caplog.text


def test_cleanup_must_be_callable(caplog):
    assert serve(handler_of(lambda req: req.register_cleanup(5))).status[:3] == "500"
    with pytest.raises(ValueError):
        apache.register_cleanup(5)


def test_cleanups_run_even_if_the_server_refuses_the_headers():
    order = []

    def refuse(status, headers):
        raise ValueError("refused")

    environ = {"PythonHandler": named(handler_of(lambda r: r.register_cleanup(order.append)))}
    setup_testing_defaults(environ)
    with pytest.raises(ValueError, match="refused"):
        handle_request(environ, refuse)
    assert order == [None]


def test_client_that_goes_away_leaves_one_line_at_info(caplog):
    caplog.set_level(logging.INFO, logger="handlers")
    cleaned = []

    def broken(data):
        raise OSError("broken pipe")

    def handler(req):
        req.content_type = "text/plain"
        req.register_cleanup(cleaned.append, 1)
        req.write("waits", 0)
        req.write("x")
        return apache.OK

    environ = {"PythonHandler": named(handler)}
    setup_testing_defaults(environ)
    answer = handle_request(environ, lambda status, headers: broken)
    assert list(answer) == []
    answer.close()
    assert cleaned == [1]
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_declined_serves_the_file_with_validators(file):
    variables = {"PythonHandler": "", "SCRIPT_FILENAME": str(file), "PATH_INFO": ""}
    answer = serve(**variables)
    assert (answer.status, answer.body) == ("200 OK", b"0123456789")
    assert answer["Content-Type"] == "text/plain"
    assert answer["Last-Modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    assert answer["ETag"] == f'"a-{1_600_000_000_000_000:x}"'
    assert serve(**variables, HTTP_IF_NONE_MATCH=answer["ETag"]).status == "304 Not Modified"
    head = serve(**variables, REQUEST_METHOD="HEAD")
    assert (head["Content-Length"], head.body) == ("10", b"")


def test_declined_is_404_for_anything_but_a_file(file):
    def variables(path, path_info=""):
        return {"PythonHandler": "", "SCRIPT_FILENAME": str(path), "PATH_INFO": path_info}

    assert serve(**variables(file.parent)).status == "404 Not Found"
    assert serve(**variables(file.parent / "missing")).status == "404 Not Found"
    assert serve(**variables(file, "/more")).status == "404 Not Found"
    post = serve(**variables(file), REQUEST_METHOD="POST")
    assert (post.status, post["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
