"""``PythonOption mod_python.request_rec on`` beside real mod_python."""

import re

import pytest

from handlers.mod_python import apache
from tests.differences import ANSWERS
from tests.servers.pair import FILE, PHASES, quoted, start_with_request_rec
from tests.servers.recording import Recording
from tests.support import until


@pytest.fixture(scope="module")
def with_option(base, pictures):
    directory = base / "request-rec"
    directory.mkdir()
    recording = Recording(file_body=FILE)
    recording.load()
    with start_with_request_rec(directory, pictures, recording) as pair:
        yield pair


@pytest.fixture
def pair(with_option):
    """The runtime with the option, and what mod_python has answered."""
    yield from with_option.watched()


def test_error_document_is_asked(pair):
    answer = pair.same("/o/error-document/file.txt?404")
    assert answer.body == b"of the ErrorDocument"


@pytest.mark.parametrize("result", [200, 201, 202, 206])
def test_success_that_is_returned_is_apaches_page(pair, result):
    pair.same(f"/o/returns/result_after_pending_text/file.txt?{result}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "result", [apache.OK, apache.DONE, 204, 301, 304, 400, 401, 403, 404, 410, 418, 425, 500, 503]
)
def test_result_gives_the_same_answer(pair, result, method):
    if result in (418, 425):
        method = "GET"
    pair.same(f"/o/returns/result/file.txt?{result}", method, but=("allow", "accept-ranges"))


@pytest.mark.parametrize("result", [apache.OK, apache.DONE, 204, 302, 304, 403, 404, 500, 503])
@pytest.mark.parametrize("when", ["text", "pending_text"])
def test_result_after_output_gives_the_same_answer(pair, result, when):
    pair.same(f"/o/returns/result_after_{when}/file.txt?{result}")


@pytest.mark.parametrize("path", ["method_not_allowed", "own_allow", "result"])
def test_allow_is_apaches(pair, path):
    path = f"/o/returns/{path}/file.txt" + ("?501" if path == "result" else "")
    ours, real = pair.ask(path)
    assert ours.status == real.status
    methods = [sorted(answer.headers["Allow"].split(",")) for answer in (ours, real)]
    assert methods[0] == methods[1]


def test_header_names_are_as_the_client_wrote_them(pair):
    pair.same("/o/addresses/header_names/file.txt", headers={"x-LOWER": "1"})


def test_password_goes_by_auth_type(pair):
    fields = {"Authorization": "Basic dXNlcjpwYXNz"}
    answer = pair.same("/o/addresses/option_only/file.txt", headers=fields)
    assert answer.body == b"None None"
    pair.same("/o/addresses/password/file.txt", headers=fields)
    pair.same("/o/addresses/password/file.txt")


@pytest.mark.parametrize(
    "question",
    [
        question
        for question, (name, _, _) in ANSWERS["questions"].items()
        if name in ("attributes", "allowed") or question == "server name"
    ],
)
def test_question_has_mod_pythons_answer(pair, question):
    name, _, real = ANSWERS["questions"][question]
    answer = pair.ours.request(f"/o/questions/ask/file.txt?{quoted(question)}")
    if question == "server name":
        # ServerName, not the name that the client asked for
        assert answer.body != b"'127.0.0.1'"
    else:
        assert answer.body.decode() == real, name


def test_directory_has_the_etag_of_mod_python(pair):
    answers = pair.ask("/o/validators/file/")
    for answer in answers:
        assert re.fullmatch(r'(W/)?"\w+-\w+"', answer.headers["ETag"])


@pytest.mark.parametrize("name", sorted(set(PHASES) - {"user-missing", "user-declined", "fault"}))
def test_phases_go_on_as_without_the_option(pair, name):
    pair.expect("files/phases")
    ours = pair.ours.request(f"/o/phases/{name}/file.txt")
    assert ours.status < 600


def test_levels_of_the_log_are_all_eight(pair):
    pair.expect("mark")
    pair.ours.request("/o/logs/levels/file.txt?mark")
    until(lambda: "connection default mark" in pair.ours.log())
    found = {
        what: level
        for level, what in re.findall(
            r"\[\w*:(\w+)\] .*client .* (\w+ \w+) mark$", pair.ours.log(), re.MULTILINE
        )
    }
    levels = {"EMERG": "emerg", "ALERT": "alert", "CRIT": "crit", "ERR": "error"}
    levels |= {"WARNING": "warn", "NOTICE": "notice", "INFO": "info"}
    assert {f"req {name}": level for name, level in levels.items()}.items() <= found.items()
