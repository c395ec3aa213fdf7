"""The recording of mod_python's answers: what it keeps, and that it fails when it is not true."""

import email.message
import http.client
import json

import pytest

from tests.servers.httpd import Answer, Httpd
from tests.servers.recording import RealServer, RecordedServer, Recording

FILE = bytes(range(256)) * 20


def answer(body=b"text", status=200, **fields):
    headers = http.client.HTTPMessage()
    for name, value in fields.items():
        email.message.Message.add_header(headers, name.replace("_", "-"), value)
    return Answer(status, headers, body)


@pytest.fixture
def recording(tmp_path):
    return Recording(tmp_path / "recording.json", FILE)


@pytest.fixture
def real(tmp_path, monkeypatch, recording):
    """A real server that answers what the test has put into ``real.answer``, without a process."""

    def request(self, *_):
        if self.answer is None:
            raise http.client.RemoteDisconnected
        return self.answer

    monkeypatch.setattr(Httpd, "request", request)
    options = {"recording": recording, "renew": True}
    return RealServer(tmp_path / "real", "sqlite:////x", tmp_path, **options)


@pytest.fixture
def recorded(tmp_path, recording):
    return RecordedServer(tmp_path / "elsewhere" / "recorded", recording)


@pytest.mark.parametrize(
    "body", [b"", "Grüße".encode(), b"\xff\x00", FILE, FILE[1:], b"x" * 5000], ids=range(6)
)
def test_answer_comes_back_from_the_file(real, recorded, recording, body):
    real.answer = answer(body, 404, X_One="1", Set_Cookie="a=1")
    real.request("/a?b", "POST", {"X-Asked": "grüße".encode()}, b"asked")
    recording.save()
    recording.load()
    again = recorded.request("/a?b", "POST", {"X-Asked": "grüße".encode()}, b"asked")
    assert (again.status, again.headers.items(), again.body) == (
        404,
        [("X-One", "1"), ("Set-Cookie", "a=1")],
        body,
    )


def test_nothing_of_the_machine_or_the_moment_is_kept(real, recorded, recording, tmp_path):
    body = f"{tmp_path}/x 127.0.0.1:{real.port}".encode()
    now = email.utils.formatdate(usegmt=True)
    fields = {"Date": now, "Expires": now, "Server": "Apache", "Content_Length": str(len(body))}
    real.answer = answer(body, **fields)
    real.request("/a")
    recording.save()
    text = (tmp_path / "recording.json").read_text()
    for own in (str(tmp_path), str(real.port), now, "Apache"):
        assert own not in text
    again = recorded.request("/a")
    assert again.body.startswith(f"{tmp_path}/elsewhere/x".encode())
    assert again.headers["Content-Length"] == str(len(again.body))
    assert again.headers["Expires"].endswith(" GMT")


def test_log_comes_back_for_tests_that_read_it(real, recorded, tmp_path):
    real.begin_test()
    real.answer = answer()
    with open(real.work.error_log, "w") as file:
        file.write(
            "[Wed Nov 25 23:58:36.7 2026] [:error] [pid 5:tid 5] [client 1.2.3.4:99] failed\n"
        )
        file.write("[Wed Nov 25 23:58:36.8 2026] [core:info] [pid 5:tid 5] of Apache\n")
    real.request("/a")
    assert "failed" in real.log()
    assert real.complaints()
    recorded.begin_test()
    assert recorded.log() == ""
    recorded.request("/a")
    assert recorded.log() == "[:error] [pid 0] [client 1.2.3.4:0] failed\n"


def test_child_that_ended_ends_again(real, recorded):
    real.answer = None
    for server in (real, recorded):
        with pytest.raises(http.client.RemoteDisconnected):
            server.request("/a")


def test_two_answers_to_one_request_cannot_be_recorded(real):
    for body in (b"one", b"one"):
        real.answer = answer(body)
        real.request("/a")
    real.answer = answer(b"two")
    with pytest.raises(AssertionError, match="two answers"):
        real.request("/a")


@pytest.mark.parametrize("changed", [answer(b"other"), answer(status=500), answer(X="1"), None])
def test_recording_that_is_no_longer_true_fails(real, changed, monkeypatch):
    real.answer = answer()
    real.request("/a")
    monkeypatch.setattr(real, "_renew", False)
    real.request("/a")
    real.answer = changed
    with pytest.raises(AssertionError, match=r"otherwise.*--record-oracle"):
        real.request("/a")


def test_request_that_was_not_recorded_fails(recorded, real):
    real.answer = answer()
    real.request("/a", headers={"X": "1"})
    for headers, body in (({"X": "2"}, None), (None, None), ({"X": "1"}, b"x")):
        with pytest.raises(AssertionError, match=r"nothing is recorded.*--record-oracle"):
            recorded.request("/a", headers=headers, body=body)


def test_shipped_recording_is_in_the_order_in_which_it_is_written(tmp_path):
    shipped = Recording()
    shipped.load()
    again = Recording(tmp_path / "again.json")
    for entry in json.loads(shipped._path.read_text()):
        again.add(**entry)
    again.save()
    assert (tmp_path / "again.json").read_bytes() == shipped._path.read_bytes()
