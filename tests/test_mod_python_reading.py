import io
import logging

from handlers.mod_python import apache
from handlers.runtime.request import Request
from tests.wsgi import serve

BODY = b"12345rest\nabcdefgh\nxyz\n\nmore.."


def request(body=BODY, **variables):
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), **variables}
    return Request(environ, None)


def test_reading_counts_what_it_reads():
    req = request()
    assert (req.remaining, req.read_length) == (0, 0)
    assert req.read(5) == b"12345"
    assert (req.remaining, req.read_length) == (25, 5)
    assert req.readline() == b"rest\n"
    assert req.readline(3) == b"abc"
    assert req.readlines() == [b"defgh\n", b"xyz\n", b"\n", b"more.."]
    assert req.read() == req.readline() == b""
    assert (req.remaining, req.read_length) == (0, 30)


def test_no_more_than_the_announced_length_is_read():
    req = request(CONTENT_LENGTH="7")
    assert req.read(100) == b"12345re"
    assert req.read() == b""
    assert request(CONTENT_LENGTH="7").read() == b"12345re"
    assert request(CONTENT_LENGTH="7").readlines() == [b"12345re"]


def test_body_without_a_valid_length_is_empty():
    for length in ("", "x", "-5", "²"):
        assert request(CONTENT_LENGTH=length).read() == b""


def test_body_that_ends_early_ends():
    req = request(CONTENT_LENGTH="1000")
    assert req.read() == BODY
    assert req.read() == b""
    assert req.remaining == 0


def test_readlines_stops_after_its_hint():
    assert request().readlines(5) == [b"12345rest\n"]


def test_chunked_body_is_read_to_its_end():
    req = request(
        **{"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    )
    assert req.read(5) == b"12345"
    assert req.read() == BODY[5:]


def test_rest_of_the_body_can_be_dropped():
    req = request()
    assert req.discard_request_body() == apache.OK
    assert req.read_length == 30


class Broken(io.BytesIO):
    def read(self, size=-1):
        raise OSError("the client is gone")


def test_client_that_does_not_send_its_body_is_answered_400_with_one_line(caplog):
    caplog.set_level(logging.INFO, logger="handlers")

    def handler(req):
        req.read()
        return apache.OK

    answer = serve(handler, wsgi__input=Broken(), CONTENT_LENGTH="5")
    assert answer.status == "400 Bad Request"
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert "the client is gone" in caplog.text
    assert "Traceback" not in caplog.text


def test_body_is_read_through_the_server():
    def handler(req):
        req.content_type = "text/plain"
        req.write(req.readline() + req.read())
        return apache.OK

    assert serve(handler, body=b"a\nb", REQUEST_METHOD="POST").body == b"a\nb"
