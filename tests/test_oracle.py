"""The runtime answers as real mod_python does: the same requests to the same handlers on both."""

import json
import re

import pytest

from handlers.mod_python import apache
from handlers.runtime import constants
from tests.differences import ANSWERS
from tests.oracle import questions, tables
from tests.servers.pair import FILE, PHASES, quoted

FILE_ETAG = '"c350-60a24181e4000"'
FILE_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
BODIES = [b"", b"one\ntwo\n\nlast", b"x" * 12, b"\n\n", b"a\r\nb\r\n", "Grüße\n".encode() * 5000]
# those that Apache does not know are among the known differences
STATUSES = sorted(
    value
    for name, value in vars(constants).items()
    if name.startswith("HTTP_") and (value == 204 or value >= 300) and value != 418
)


def asking(path, cases):
    different = ANSWERS[path]
    return pytest.mark.parametrize("question", [case for case in cases if case not in different])


# -- what handlers return ------------------------------------------------------------------------


@pytest.mark.parametrize("result", [apache.OK, apache.DONE, apache.DECLINED, *STATUSES])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_result_gives_the_same_answer(pair, result, method):
    but = ("allow", "accept-ranges")
    answer = pair.same(f"/o/returns/result/file.txt?{result}", method, but=but)
    assert answer.status == (result if result > 0 else 200)


@pytest.mark.parametrize("result", [apache.OK, apache.DONE, 204, 302, 304, 403, 404, 500, 503])
@pytest.mark.parametrize("when", ["text", "pending_text"])
def test_result_after_output_gives_the_same_answer(pair, result, when):
    pair.same(f"/o/returns/result_after_{when}/file.txt?{result}")


@pytest.mark.parametrize("status", [200, 201, 203, 204, 206, 302, 304, 404, 451, 500])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_status_that_is_set_gives_the_same_answer(pair, status, method):
    assert pair.same(f"/o/returns/status/file.txt?{status}", method).status == status


@pytest.mark.parametrize(
    "arguments, status",
    [
        ([apache.OK], 200),
        ([apache.DONE], 200),
        ([404], 404),
        ([apache.DONE, 404], 404),
        ([apache.OK, 201], 201),
        ([404, 403], 404),
        ([apache.DONE, None], 200),
        ([apache.OK, 0], 200),
    ],
)
def test_server_return_gives_the_same_answer(pair, arguments, status):
    assert pair.same(f"/o/returns/server_return/file.txt?{quoted(arguments)}").status == status


@pytest.mark.parametrize("value", ["none", "text", "true", "float", "tuple"])
def test_result_that_is_no_int_is_500(pair, value):
    pair.expect("returns.+no_number")
    assert pair.same(f"/o/returns/no_number/file.txt?{value}").status == 500


def test_server_return_of_no_int_is_500(pair):
    pair.expect("returns.+server_return")
    assert pair.same(f"/o/returns/server_return/file.txt?{quoted(['404'])}").status == 500


@pytest.mark.parametrize(
    "fault, logged",
    [
        ("ValueError", "ValueError: a fault of the oracle"),
        ("OSError", "OSError: a fault of the oracle"),
        ("SystemExit", "SystemExit: 3"),
        ("no argument", ""),
    ],
)
def test_fault_is_500_with_its_traceback_in_the_log(pair, fault, logged):
    pair.expect("returns.+fault")
    assert pair.same(f"/o/returns/fault/file.txt?{quoted(fault)}").status == 500
    pair.logged(rf":error\].*Traceback \(most recent call last\)(.*\n)*.*:error\].*{logged}")


def test_fault_after_output_appends_the_page(pair):
    pair.expect("returns.+fault_after_text")
    assert pair.same("/o/returns/fault_after_text/file.txt").status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_redirects_are_the_same(pair, status, method):
    answer = pair.same(f"/o/returns/redirect/file.txt?{status}", method)
    assert answer.headers["Location"] == "/elsewhere?a=1&b=2"


@pytest.mark.parametrize("name", ["redirect_by_status", "not_modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_redirect_and_304_without_a_page_are_the_same(pair, name, method):
    pair.same(f"/o/returns/{name}/file.txt", method)


# -- what the request says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("file.txt", "file.txt?", "file.txt?a=1&b=%20", "file.txt?x=//", "noext", "page.html;x=1"),
        *("a%20b%C3%A9.txt", "gr%C3%BC%C3%9Fe%20und.txt", "%E2%82%AC", "%66ile.txt"),
        *(
            "gone/x%2520y",
            "file.txt/more/x%20y",
            "file.txt/a//b",
            "gr%C3%BC%C3%9Fe%20und.txt/%C3%A9",
        ),
        *("//file.txt", "./../request/file.txt", "../..//addresses/request/file.txt"),
    ],
)
def test_address_means_the_same(pair, path):
    assert pair.same(f"/o/addresses/request/{path}").status == 200


def test_slashes_at_the_start_mean_the_same(pair):
    pair.same("//o/addresses///request/file.txt?x=//")


def test_encoded_slash_is_404_on_both(pair):
    assert pair.same("/o/addresses/request/file.txt/..%2Fx").status == 404


@pytest.mark.parametrize(
    "method", ["HEAD", "POST", "PUT", "DELETE", "PROPFIND", "OPTIONS", "PATCH", "BREW"]
)
def test_methods_mean_the_same(pair, method):
    pair.same("/o/addresses/request/file.txt", method)


def test_header_fields_have_the_same_values(pair):
    fields = {"X-Asked": "grüße".encode(), "x-lower": "a, b", "Cookie": "a=1; b=2", "Host": "a.b"}
    told = json.loads(pair.same("/o/addresses/headers/file.txt", headers=fields).body)
    assert (told["x-asked"], told["cookie"], told["host"]) == ("grüße", "a=1; b=2", "a.b")


def test_cgi_variables_are_the_same(pair):
    fields = {"X-Asked": "1", "Content-Type": "a/b", "Authorization": "Basic dXNlcjpwYXNz"}
    for path in ("file.txt/x%20y?a=%20b", "file.txt"):
        pair.same(f"/o/addresses/environment/{path}", headers=fields)


@asking("questions", questions.QUESTIONS)
def test_questions_about_the_request_have_the_same_answer(pair, question):
    pair.expect("conn.remote_ip deprecated")
    pair.same(f"/o/questions/ask/file.txt?{quoted(question)}", headers={"X-Asked": "yes"})


@asking("tables", tables.QUESTIONS)
def test_questions_about_tables_have_the_same_answer(pair, question):
    pair.same(f"/o/tables/ask/file.txt?{quoted(question)}")


def test_constants_have_the_same_names_and_values(pair):
    ours, real = (
        json.loads(answer.body) for answer in pair.ask("/o/constants/all_of_them/file.txt")
    )
    # the version of Apache's headers that mod_python was built with
    del real["MODULE_MAGIC_NUMBER_MINOR"]
    assert ours == real
    prefixes = [name.partition("_")[0] for name in ours]
    assert (prefixes.count("HTTP"), prefixes.count("APLOG"), prefixes.count("M")) == (50, 9, 27)


# -- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize(
    "how",
    [
        *("read", "read_pieces", "readline", "readline_pieces", "readlines", "readlines_hint"),
        *("mixed", "unread", "echo"),
    ],
)
def test_body_of_a_request_is_read_the_same(pair, body, how):
    assert pair.same(f"/o/bodies/{how}/file.txt", "POST", body=body).status == 200


def test_chunked_body_is_411(pair):
    pair.expect("chunked|bodies.+echo")
    ours, real = (
        server.request("/o/bodies/echo/file.txt", "POST", body=iter([b"abc"]))
        for server in pair.servers
    )
    assert ours.status == real.status == 411


@pytest.mark.parametrize(
    "name",
    [
        *("text", "pending", "announced", "nothing", "untyped", "two_types", "large"),
        *("fields", "late_fields", "counted", "status_line", "file_between"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_output_is_the_same(pair, name, method):
    pair.same(f"/o/output/{name}/file.txt", method)


@pytest.mark.parametrize("name", ["noext", "page.html", "gone.html"])
def test_type_that_no_handler_set_is_the_files(pair, name):
    pair.same(f"/o/output/untyped/{name}")


@pytest.mark.parametrize("status", [302, 304, 403, 404, 500])
def test_errors_keep_err_headers_out_only(pair, status):
    answer = pair.same(f"/o/output/fields/file.txt?{status}")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert ("X-One" in answer.headers) == (status == 304)


def test_no_cache_expires_now(pair):
    answer = pair.same("/o/output/expiring/file.txt", but=("expires",))
    assert answer.headers["Expires"].endswith(" GMT")


@pytest.mark.parametrize(
    "arguments, start, end",
    [([], 0, None), ([0], 0, None), ([10, 20], 10, 30), ([0, 5], 0, 5), ([0, 0], 0, 0)],
)
def test_file_has_the_same_bytes(pair, arguments, start, end):
    path = f"/o/output/file/file.txt?{quoted(arguments)}"
    answer = pair.same(path, but=("content-length", "transfer-encoding"))
    assert answer.body == FILE[start:end]


# -- conditional requests ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "name, values",
    [
        ("If-None-Match", [FILE_ETAG, '"x"', f'"x", {FILE_ETAG}', "*", "junk", FILE_ETAG[:-1], ""]),
        ("If-Match", [FILE_ETAG, f"W/{FILE_ETAG}", '"x"', "*"]),
        ("If-Modified-Since", [FILE_DATE, FILE_DATE.replace("20 G", "19 G"), "junk"]),
        (
            "If-Modified-Since",
            [FILE_DATE.replace("20 G", "21 G"), FILE_DATE.replace("2023", "2099")],
        ),
        ("If-Modified-Since", ["Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"]),
        ("If-Unmodified-Since", [FILE_DATE, FILE_DATE.replace("20 G", "19 G"), "junk"]),
        ("If-Range", ['"x"']),
    ],
)
def test_conditions_on_a_file_give_the_same_answer(pair, method, name, values):
    for value in values:
        answer = pair.same("/o/validators/file/file.txt", method, {name: value})
        if answer.status == 200:
            assert (answer.headers["ETag"], answer.headers["Last-Modified"]) == (
                FILE_ETAG,
                FILE_DATE,
            )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("strength", ["weak", "strong"])
@pytest.mark.parametrize("value", ['"own"', 'W/"own"', "*", '"other"'])
def test_conditions_on_the_handlers_own_etag_give_the_same_answer(pair, method, strength, value):
    for name in ("If-None-Match", "If-Match"):
        pair.same(f"/o/validators/own/file.txt?{strength}", method, {name: value})


def test_etag_counts_before_the_date(pair):
    headers = {"If-None-Match": '"x"', "If-Modified-Since": FILE_DATE}
    assert pair.same("/o/validators/file/file.txt", headers=headers).status == 200


# -- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, body",
    [
        ("default", b"default\n"),
        ("both", b"first\nsecond of the first\n"),
        ("declined-first", FILE),
        ("done", b"done\n"),
        ("never", b"done\n"),
        ("returning", b"returning\nsecond None\n"),
        ("method", b"page True\n"),
        ("object", b"object\n"),
    ],
)
def test_list_of_handlers_comes_to_the_same(pair, name, body):
    assert pair.same(f"/o/lists/{name}/file.txt", but=("accept-ranges",)).body == body


@pytest.mark.parametrize("name", PHASES)
def test_phases_come_to_the_same(pair, name):
    pair.expect(r"phases|req->user is NULL|set no req\.user")
    # Apache does not know the type before the type-checker phase
    unknown = ("content-type",) if name == "written" else ()
    answer = pair.same(f"/o/phases/{name}/file.txt", but=("content-length", *unknown))
    if name == "logged":
        assert answer.status == 200


def test_password_that_an_authen_handler_checks_is_the_same(pair):
    for credentials, status in (("Basic dXNlcjpwYXNz", 200), ("Basic dXNlcjp3cm9uZw==", 401)):
        fields = {"Authorization": credentials}
        assert pair.same("/o/phases/password/file.txt", headers=fields).status == status


@pytest.mark.parametrize("name", ["error", "error-first"])
def test_error_of_a_handler_ends_the_list(pair, name):
    pair.same(f"/o/lists/{name}/file.txt")


@pytest.mark.parametrize("name", ["no-object", "no-module", "no-attribute", "none"])
def test_handler_that_is_not_there_is_500(pair, name):
    pair.expect(f"oracle.(chain|nothing)|lists/{name}")
    assert pair.same(f"/o/lists/{name}/file.txt").status == 500


@pytest.mark.parametrize(
    "path", ["file.txt", "page.html", "noext", "two.x.txt", "file.txt/x.jpg", "gone.html"]
)
def test_extensions_choose_the_same(pair, path):
    pair.same(f"/o/lists/extension/{path}", but=("accept-ranges",))


def test_inner_options_override_and_remove_outer_ones(pair):
    options = pair.same(f"/o/options/inner/file.txt?{quoted('options')}").body.decode()
    assert "('oracle.changed', 'inner'), ('oracle.kept', 'outer'), ('other', 'a b')" in options
    assert "oracle.removed" not in options


def test_python_debug_shows_the_traceback(pair):
    pair.expect("debug|returns.+fault")
    for answer in pair.ask("/o/debug/file.txt?ValueError"):
        assert (answer.status, answer.headers.get_content_type()) == (500, "text/html")
        assert b"PythonHandler oracle.returns::fault" in answer.body
        assert b"ValueError: a fault of the oracle" in answer.body


@pytest.mark.parametrize("path", ["gone.txt", "", "file.txt/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_declined_without_a_file_is_404(pair, path, method):
    assert pair.same(f"/o/lists/declined-first/{path}", method).status == 404


def test_declined_file_has_validators(pair):
    for fields in ({"If-None-Match": FILE_ETAG}, {"Range": "bytes=5-9"}, {}):
        pair.same("/o/lists/declined-first/file.txt", headers=fields, but=("accept-ranges",))


# -- the log -------------------------------------------------------------------------------------


def test_text_is_logged_as_it_is(pair):
    pair.same("/o/logs/awkward/file.txt?mark")
    pair.logged(r":info\].* percent %s %d mark")
    pair.logged(re.escape(r"Gr\xc3\xbc\xc3\x9fe mark"))


@pytest.mark.parametrize("end", ["text", "404", "fault"])
def test_cleanups_run_after_the_response_the_latest_first(pair, end):
    pair.expect("logs.+cleanups")
    pair.same(f"/o/logs/cleanups/file.txt?{end}")
    pair.logged(r"cleanup second\n(.*\n)*.*cleanup first")


def test_cleanup_that_fails_leaves_the_others(pair):
    pair.expect("failing_cleanup|python_cleanup|ValueError.*a fault of the oracle")
    assert pair.same("/o/logs/failing_cleanup/file.txt").status == 200
    pair.logged(r"cleanup second\n(.*\n)*.*_fail(.*\n)*.*cleanup first")


def test_password_of_basic_authentication(pair):
    fields = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert pair.same("/o/addresses/password/file.txt", headers=fields).body == b"'pass' 'user'"
    assert pair.same("/o/addresses/unasked/file.txt", headers=fields).body == b"None None"
    for credentials in ("", "Basic", "Basic dXNlcg==", "Digest x"):
        fields = {"Authorization": credentials} if credentials else {}
        pair.expect("client used wrong authentication scheme")
        pair.same("/o/addresses/password/file.txt", headers=fields)


@pytest.mark.parametrize("field", [b"a=\xff", b"\xff=a; b=c", b"\xff"])
def test_cookies_that_are_not_utf_8_are_absent(pair, field):
    pids = [server.child_pids() for server in pair.servers]
    answer = pair.same("/o/forms/cookies/file.txt", headers={"Cookie": field})
    assert answer.body == b"[]"
    assert pids == [server.child_pids() for server in pair.servers]


def test_cookies_are_read_the_same(pair):
    fields = {"Cookie": "a=1; b=é; c".encode()}
    assert (
        pair.same("/o/forms/cookies/file.txt", headers=fields).body
        == "[('a', '1'), ('b', 'é'), ('c', '')]".encode()
    )


URLENCODED = "application/x-www-form-urlencoded"
PART = '--X\r\nContent-Disposition: form-data; name="a"'


@pytest.mark.parametrize(
    "query, kind, body, expected",
    [
        ("?a=1&b", URLENCODED, b"c=%41%42&d=", (4, 3, 0)),
        ("", "multipart/form-data; boundary=X", f"{PART}\r\n\r\nab\r\n--X--".encode(), (1, 2, 0)),
        (
            "",
            "multipart/form-data; boundary=X",
            f'{PART}; filename="f"\r\n\r\nab\r\n--X--'.encode(),
            (1, 0, 2),
        ),
    ],
)
def test_forms_are_read_the_same(pair, query, kind, body, expected):
    answer = pair.same(f"/o/forms/count/file.txt{query}", "POST", {"Content-Type": kind}, body)
    assert answer.body == repr(expected).encode()


@pytest.mark.parametrize("query, status", [(b"a=%FF", 200), (b"a=\xff", 400)])
def test_query_of_a_form_that_is_not_utf_8(pair, query, status):
    for server in pair.servers:
        assert server.get(b"/o/forms/count/file.txt?" + query) == status
