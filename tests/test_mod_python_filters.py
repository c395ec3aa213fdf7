"""Filters of what handlers read and write."""

from handlers.mod_python import apache
from tests.wsgi import named, page, returns, serve


def upper(filter):
    text = filter.read()
    while text:
        filter.write(text.upper())
        text = filter.read()
    if text is None:
        filter.write(f"|{filter.name} {filter.is_input}")
        filter.close()


def filtered(content, **variables):
    spec = named(upper)
    return serve(
        content,
        **{"PythonOutputFilter.up": spec, "PythonInputFilter.up": spec} | variables,
    )


def writes_in_parts(req):
    req.content_type = "text/plain"
    req.set_content_length(9)
    req.write("one ")
    req.write("two ", 0)
    req.write("3\n")
    return apache.OK


def test_output_goes_through_filters():
    answer = filtered(writes_in_parts, PythonSetOutputFilter="up")
    assert (answer.body, answer["Content-Length"]) == (b"ONE TWO 3\n|up 0", None)
    assert filtered(writes_in_parts).body == b"one two 3\n"


def test_output_that_is_whole_has_the_length_that_filters_give_it():
    answer = filtered(page, PythonSetOutputFilter="UP;up")
    assert answer.body == b"PAGE PYTHONHANDLER NONE|UP 0|up 0"
    assert answer["Content-Length"] == str(len(answer.body))
    answer = filtered(page, PythonSetOutputFilter="up", REQUEST_METHOD="HEAD")
    assert (answer.status, answer.body) == ("200 OK", b"")


def test_filters_are_for_extensions(tmp_path):
    by_type = {"PythonAddOutputFilter": "up .html .txt ; up .x"}
    assert b"|" in filtered(page, SCRIPT_FILENAME="/no/a.txt", **by_type).body
    assert b"|" not in filtered(page, SCRIPT_FILENAME="/no/a.css", **by_type).body


def test_file_goes_through_filters(tmp_path):
    (tmp_path / "a.txt").write_text("text of a")
    variables = {"SCRIPT_FILENAME": str(tmp_path / "a.txt"), "PythonSetOutputFilter": "up"}
    answer = filtered(returns(apache.DECLINED), **variables)
    assert answer.body == b"TEXT OF A|up 0"


def test_errors_are_not_filtered():
    answer = filtered(returns(404), PythonSetOutputFilter="up")
    assert answer.status == "404 Not Found"
    assert b"Not Found" in answer.body and b"|" not in answer.body


def test_filters_are_added_by_handlers():
    spec = named(upper)

    def content(req):
        req.register_output_filter("MINE", spec)
        req.add_output_filter("mine")
        return page(req)

    assert serve(content).body == b"PAGE PYTHONHANDLER NONE|mine 0"


def test_filter_that_nobody_knows_is_not_added(caplog):
    def content(req):
        req.add_output_filter("DEFLATE")
        return page(req)

    assert serve(content).body == b"page PythonHandler None"
    assert "an unknown filter was not added: DEFLATE" in caplog.text


def test_filter_that_fails_is_500_and_logged(caplog):
    spec = named(lambda filter: 1 / 0)
    for content in (page, writes_in_parts):
        caplog.clear()
        answer = serve(content, **{"PythonOutputFilter.x": spec, "PythonSetOutputFilter": "x"})
        assert answer.status == "500 Internal Server Error"
        assert b"page" not in answer.body
        assert f"x {spec}" in caplog.text and "ZeroDivisionError" in caplog.text


def test_filters_pass_on_and_step_aside():
    def some(filter):
        first = filter.read(1)
        if first:
            filter.write(b"<" + first + b">")
        filter.pass_on()

    def once(filter):
        filter.write("once ")
        filter.disable()

    for function, body in ((some, b"<o>ne <t>wo 3\n"), (once, b"once one two 3\n")):
        variables = {"PythonOutputFilter.f": named(function), "PythonSetOutputFilter": "f"}
        assert serve(writes_in_parts, **variables).body == body


def test_lines_of_a_filter():
    def lines(filter):
        line = filter.readline()
        while line:
            filter.write(f"[{line.decode().strip()}]")
            line = filter.readline(20)
        if line is None:
            filter.close()

    def content(req):
        req.content_type = "text/plain"
        req.write("a\nb\nlast", 0)
        return apache.OK

    variables = {"PythonOutputFilter.l": named(lines), "PythonSetOutputFilter": "l"}
    assert serve(content, **variables).body == b"[a][b][last]"


def reads(req):
    req.content_type = "text/plain"
    req.write(repr((req.read(5), req.readline(), req.readlines(), req.read(1))), 0)
    return apache.OK


def test_body_goes_through_filters():
    variables = {"PythonSetInputFilter": "up", "REQUEST_METHOD": "POST"}
    answer = filtered(reads, body=b"one\ntwo\nthree", **variables)
    assert answer.body.decode() == repr((b"ONE\nT", b"WO\n", [b"THREE|up 1"], b""))
    large = b"x" * 100_000

    def whole(req):
        req.content_type = "text/plain"
        req.write(req.read(), 0)
        return apache.OK

    assert filtered(whole, body=large, **variables).body == large.upper() + b"|up 1"


def test_filter_of_the_body_is_added_by_a_handler():
    spec = named(upper)

    def content(req):
        req.register_input_filter("mine", spec)
        req.add_input_filter("mine")
        return reads(req)

    answer = serve(content, body=b"a\n", REQUEST_METHOD="POST")
    assert answer.body == b"(b'A\\n|mi', b'ne 1', [], b'')"
