"""Where the runtime and real mod_python differ: each known difference is shown from both sides."""

import http.client
import json
import re

import pytest

from tests.differences import ANSWERS, DIFFERENCES
from tests.oracle.questions import QUESTIONS
from tests.servers.pair import FILE, quoted

_shown = {name for answers in ANSWERS.values() for name, _, _ in answers.values()}


def shows(name):
    """Tell that a test shows the difference *name*."""
    assert name in DIFFERENCES
    _shown.add(name)
    return lambda test: test


def header(answers, name):
    return tuple(answer.headers[name] for answer in answers)


def statuses(answers):
    return tuple(answer.status for answer in answers)


def bodies(answers):
    return tuple(answer.body for answer in answers)


def ask_both(pair, path, real_ends):
    """Return what both say; None for mod_python if its child must end without an answer."""
    if not real_ends:
        return pair.ask(path)
    with pytest.raises(http.client.RemoteDisconnected):
        pair.real.request(path)
    return pair.ours.request(path), None


@pytest.mark.parametrize(
    "path, question", [(path, question) for path in ANSWERS for question in ANSWERS[path]]
)
def test_question_has_two_answers(pair, path, question):
    _, ours, real = ANSWERS[path][question]
    first, second = ask_both(pair, f"/o/{path}/ask/file.txt?{quoted(question)}", real is None)
    assert first.body.decode() == ours
    if real is not None:
        assert second.body.decode() == real


# -- what handlers return ------------------------------------------------------------------------


@shows("page")
def test_error_page_is_the_runtimes_own(pair):
    ours, real = bodies(pair.ask("/o/error-document/file.txt?404"))
    assert b"<p>There is nothing at this address.</p>" in ours
    assert real == b"of the ErrorDocument"


@shows("success")
@pytest.mark.parametrize("result", [200, 201, 202, 206])
def test_success_that_is_returned_ends_the_response(pair, result):
    answers = pair.ask(f"/o/returns/result_after_pending_text/file.txt?{result}")
    assert statuses(answers) == (result, result)
    assert answers[0].body == b"written\n"
    assert b"<title>" in answers[1].body and b"written" not in answers[1].body


@shows("unknown status")
@pytest.mark.parametrize("result", [418, 425])
def test_status_that_apache_does_not_know_is_sent(pair, result):
    assert statuses(pair.ask(f"/o/returns/result/file.txt?{result}")) == (result, 500)


@shows("informational")
def test_informational_status_is_500(pair):
    pair.expect("invalid result 101")
    assert statuses(pair.ask("/o/returns/result/file.txt?101")) == (500, 101)


@shows("three arguments")
def test_server_return_of_three_is_500(pair):
    pair.expect("returns.+server_return")
    path = f"/o/returns/server_return/file.txt?{quoted([0, 200, 1])}"
    assert statuses(pair.ask(path)) == (500, 200)


@shows("declined after output")
def test_declined_after_output_adds_nothing(pair):
    answers = pair.ask("/o/lists/declined/file.txt")
    assert bodies(answers) == (b"first\n", b"first\n" + FILE)


@shows("declined POST")
def test_declined_post_of_a_file_is_405(pair):
    answers = pair.ask("/o/lists/declined-first/file.txt", "POST")
    assert statuses(answers) == (405, 200)
    assert header(answers, "Allow") == ("GET, HEAD", None)


@shows("accept-ranges")
def test_declined_does_not_send_accept_ranges(pair):
    answers = pair.ask("/o/lists/declined-first/file.txt")
    assert header(answers, "Accept-Ranges") == (None, "bytes")


@shows("allow")
def test_allow_is_what_the_handler_said(pair):
    answers = pair.ask("/o/returns/method_not_allowed/file.txt")
    assert statuses(answers) == (405, 405)
    ours, real = header(answers, "Allow")
    assert ours == "GET, PUT, HEAD"
    # Apache's order is another at each start
    assert sorted(real.split(",")) == ["GET", "HEAD", "PUT", "TRACE"]
    answers = pair.ask("/o/returns/own_allow/file.txt")
    assert statuses(answers) == (405, 405)
    assert header(answers, "Allow") == ("GET, BREW", "TRACE")


@shows("allow of 501")
def test_501_has_no_allow(pair):
    assert header(pair.ask("/o/returns/result/file.txt?501"), "Allow") == (None, "TRACE")


# -- the request ---------------------------------------------------------------------------------


@shows("location")
def test_location_has_a_file_name(pair):
    ours, real = bodies(pair.ask("/location/a/b"))
    assert ours.decode() == f"{str(pair.files / 'grüße' / 'location')!r} '/a/b'"
    assert real == b"None None"


@shows("not UTF-8")
def test_address_that_is_not_utf_8_is_latin_1(pair):
    pair.expect("oracle.addresses")
    answers = pair.ask("/o/addresses/request/caf%E9.txt")
    assert statuses(answers) == (200, 500)
    told = json.loads(answers[0].body)
    assert told["uri"].endswith("/caf\xe9.txt") and told["filename"].endswith("/caf\udce9.txt")
    assert "UnicodeDecodeError" in pair.real.log()


@shows("header names")
def test_header_names_have_the_usual_case(pair):
    answers = pair.ask("/o/addresses/header_names/file.txt", headers={"x-LOWER": "1"})
    assert bodies(answers) == (
        b"Accept-Encoding Host X-Lower",
        b"Accept-Encoding Host x-LOWER",
    )


@shows("underscore")
def test_header_with_an_underscore_is_not_there(pair):
    answers = pair.ask("/o/addresses/headers/file.txt", headers={"X_Under": "1"})
    assert [b"x_under" in body for body in bodies(answers)] == [False, True]


@shows("auth type")
def test_password_is_given_where_the_option_asks_for_it(pair):
    fields = {"Authorization": "Basic dXNlcjpwYXNz"}
    answers = pair.ask("/o/addresses/option_only/file.txt", headers=fields)
    assert bodies(answers) == (b"'pass' 'user'", b"None None")


@shows("bad field")
def test_field_that_is_not_utf_8_is_latin_1(pair):
    fields = {"Cookie": b"a=\xff"}
    path = "/o/addresses/cookie_field/file.txt"
    assert pair.ours.request(path, headers=fields).body == b"'a=\\xff'"
    with pytest.raises(http.client.RemoteDisconnected):
        pair.real.request(path, headers=fields)


@shows("remaining")
def test_remaining_counts_down(pair):
    answers = pair.ask("/o/bodies/remaining/file.txt", "POST", body=b"x" * 12)
    assert bodies(answers) == (b"(b'xxxxx', 7)", b"(b'xxxxx', 12)")


# -- the response --------------------------------------------------------------------------------


@shows("sendfile length")
def test_file_alone_has_a_length(pair):
    for method in ("GET", "HEAD"):
        answers = pair.ask("/o/output/file/file.txt?[10,20]", method)
        assert header(answers, "Content-Length") == ("20", None)


@shows("sendfile offset")
def test_file_is_sent_from_an_offset_on(pair):
    pair.expect("oracle.output::file")
    ours, _ = ask_both(pair, "/o/output/file/file.txt?[10]", real_ends=True)
    assert (ours.status, ours.body) == (200, FILE[10:])


@shows("range")
def test_range_of_a_sent_file_is_206(pair):
    fields = {"Range": "bytes=5-9"}
    answers = pair.ask("/o/output/file/file.txt", headers=fields)
    assert statuses(answers) == (206, 200)
    assert bodies(answers) == (FILE[5:10], FILE)


@shows("type by header")
def test_type_in_headers_out_counts(pair):
    answers = pair.ask("/o/output/type_by_header/file.txt")
    assert header(answers, "Content-Type") == ("text/x-of-header", "text/plain")


@shows("etag of no file")
def test_directory_has_no_etag(pair):
    ours, real = header(pair.ask("/o/validators/file/"), "ETag")
    assert ours is None
    assert re.fullmatch(r'(W/)?"\w+-\w+"', real)


@shows("both conditions")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_matching_etag_is_304_whatever_the_date(pair, method):
    fields = {"If-None-Match": '"own"', "If-Modified-Since": "Sat, 08 Sep 2001 01:46:40 GMT"}
    assert statuses(pair.ask("/o/validators/own/file.txt", method, fields)) == (304, 200)


@shows("weak match")
@pytest.mark.parametrize("strength, value", [("weak", '"own"'), ("strong", 'W/"own"')])
def test_weak_match_of_a_post_is_412(pair, strength, value):
    path = f"/o/validators/own/file.txt?{strength}"
    assert statuses(pair.ask(path, "POST", {"If-None-Match": value})) == (412, 200)


# -- the log -------------------------------------------------------------------------------------


@shows("levels")
@shows("server log")
def test_levels_of_the_log(pair):
    pair.expect("mark")
    pair.ask("/o/logs/levels/file.txt?mark")
    pair.logged("connection default mark")
    ours, real = (dict(_levels(server.log())) for server in pair.servers)
    same = {"CRIT": "crit", "ERR": "error", "WARNING": "warn"}
    ours_of_request = {"EMERG": "crit", "ALERT": "crit", "NOTICE": "info", "INFO": "info"}
    real_of_request = {"EMERG": "error", "ALERT": "alert", "NOTICE": "notice", "INFO": "info"}
    defaults = {f"{way} default": "error" for way in ("req", "apache", "server", "connection")}
    assert ours == defaults | {
        f"{way} {name}": level
        for way in ("req", "apache")
        for name, level in (same | ours_of_request | {"DEBUG": "debug"}).items()
    }
    expected = defaults | {
        f"{way} {name}": level
        for way in ("req", "apache")
        for name, level in (same | real_of_request).items()
    }
    del expected["apache INFO"]
    assert real == expected | {"req DEBUG": "debug"}
    clients = [re.search(r"(\[client .*)?apache ERR mark", log)[1] for log in _logs(pair)]
    assert (clients[0] is None, clients[1] is None) == (False, True)


@shows("failed cleanup")
def test_failed_cleanup_is_logged_with_its_traceback(pair):
    pair.expect("failing_cleanup|python_cleanup|ValueError.*a fault of the oracle")
    pair.ask("/o/logs/failing_cleanup/file.txt")
    pair.logged("cleanup first")
    assert ["Traceback" in log for log in _logs(pair)] == [True, False]


@shows("debug page")
def test_debug_page_names_its_charset(pair):
    pair.expect("debug|returns.+fault")
    answers = pair.ask("/o/debug/file.txt?ValueError")
    assert header(answers, "Content-Type") == ("text/html; charset=utf-8", "text/html")


# -- forms and cookies ---------------------------------------------------------------------------

_MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}


@shows("last boundary")
def test_last_boundary_needs_no_line_end(pair):
    body = b'--XX\r\nContent-Disposition: form-data; name="name"\r\n\r\nvalue\r\n--XX--'
    answers = pair.ask("/o/own/form/file.txt", "POST", _MULTIPART, body)
    ours, real = (body.decode().split(", ")[1] for body in bodies(answers))
    assert (ours, real) == ("b'value'", r"b'value\r\n--XX--'")


@shows("urlencoded")
def test_arguments_come_from_an_urlencoded_body(pair):
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = pair.ask("/o/published/page/hello", "POST", fields, b"name=Anna")
    assert bodies(answers) == (b"hello Anna", b"hello nobody")


# -- publisher, PSP and the other handlers -------------------------------------------------------


@shows("published bytes")
def test_bytes_are_published_as_they_are(pair):
    assert bodies(pair.ask("/o/published/page/data")) == (b"bytes", b"b'bytes'")


@shows("published import")
def test_function_of_pythons_library_is_not_published(pair):
    pair.expect("Cannot publish")
    answers = pair.ask("/o/published/page/escape?s=%3Cabcd%3E")
    assert answers[0].status == 403
    assert (answers[1].status, b"&lt;" in answers[1].body) == (200, True)


@shows("underscore page")
def test_page_whose_name_begins_with_an_underscore_is_not_published(pair):
    pair.expect("Cannot publish")
    assert statuses(pair.ask("/o/published/_hidden")) == (403, 200)


@shows("publisher's password")
@pytest.mark.parametrize(
    "path", ["closed", "page/guarded", "page/with_password/inside"], ids=range(3)
)
def test_right_password_lets_in(pair, path):
    fields = {"Authorization": "Basic YW5uOnNlc2FtZQ=="}
    answers = pair.ask(f"/o/published/{path}", headers=fields)
    assert statuses(answers) == (200, 400)
    assert answers[0].body == b"inside"
    fields = {"Authorization": "Basic Ym9iOnNlc2FtZQ=="}
    assert statuses(pair.ask(f"/o/published/{path}", headers=fields)) == (401, 400)


@shows("publisher's list")
def test_list_within_a_function_guards_it(pair):
    assert statuses(pair.ask("/o/published/page/listed")) == (403, 200)


@shows("PSP redirect")
@pytest.mark.parametrize("name", ["redirect", "redirects_with_error_page"])
def test_redirect_of_a_page_is_a_redirect(pair, name):
    pair.expect(r"PythonHandler mod_python\.psp|Error|Traceback|File|exception with|was <class|\^")
    ours, real = pair.ask(f"/o/pages/{name}.psp")
    assert (ours.status, real.status) == (302, 302)
    assert ours.body.count(b"moved") == 1 and len(real.body) > len(ours.body)


@shows("PSP status")
def test_status_that_a_page_returns_is_sent(pair):
    pair.expect(r"PythonHandler mod_python\.psp|Error|Traceback|File|exception with|was <class|\^")
    assert statuses(pair.ask("/o/pages/returned.psp")) == (410, 500)


@shows("WSGI status")
def test_status_of_an_application_is_sent(pair):
    assert statuses(pair.ask("/o/applications/accepted/a")) == (202, 200)


@shows("CGI body")
def test_script_reads_a_body(pair):
    pair.expect("PythonHandler mod_python.cgihandler|Error|Traceback|File")
    ours, real = pair.ask("/o/scripts/body.py", "POST", {"Content-Type": "a/b"}, b"body")
    assert ours.body == b"body\n"
    assert real.body != b"body\n"


@shows("CGI location")
def test_location_of_a_script_is_a_redirect(pair):
    answers = pair.ask("/o/scripts/location.py")
    assert statuses(answers) == (302, 200)


# -- the list ------------------------------------------------------------------------------------


def test_every_known_difference_is_shown():
    assert _shown == set(DIFFERENCES)


def test_every_question_with_two_answers_is_asked_in_its_module():
    assert set(ANSWERS["questions"]) <= set(QUESTIONS)


def _levels(log):
    for level, what in re.findall(r"\[\w*:(\w+)\] .* (\w+ \w+) mark$", log, re.MULTILINE):
        yield what, level


def _logs(pair):
    return [server.log() for server in pair.servers]
