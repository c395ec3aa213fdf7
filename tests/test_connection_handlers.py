"""PythonConnectionHandler on a real server: handlers that speak with a client below HTTP."""

import re
import socket

from tests.servers.httpd import free_port
from tests.servers.moved import Exact

CONNECTIONS = """
from mod_python import apache


def handler(connection):
    line = connection.readline()
    if line.startswith(b"GET"):
        connection.write("below HTTP")
        return apache.OK
    if line == b"raise\\n":
        raise ValueError("of the handler")
    if line == b"all\\n":
        connection.write(connection.read())
        return apache.OK
    server = connection.base_server
    connection.write(f"{line!r} {connection.readline(3)!r} {connection.read(2)!r}\\n")
    connection.write(f"{connection.client_ip} {connection.local_addr[1]} {connection.id}\\n")
    connection.write(f"{server.server_hostname} {dict(server.get_options().items())}")
    connection.log_error("a line of the connection", apache.APLOG_NOTICE)
    return apache.OK


def declining(connection):
    return apache.DECLINED
"""
PORTS = """
LogLevel notice
DocumentRoot "{directory}/docs"
<Directory "{directory}/docs">
    Require all granted
</Directory>
PythonOption outer 1
Listen 127.0.0.1:{other}
Listen 127.0.0.1:{third}
<VirtualHost 127.0.0.1:{other}>
    ServerName below.test
    PythonPath "['{directory}/code'] + sys.path"
    PythonOption inner 2
    PythonConnectionHandler connections::handler
</VirtualHost>
<VirtualHost *:{third}>
    PythonPath "['{directory}/code'] + sys.path"
    PythonConnectionHandler connections::declining
</VirtualHost>
"""


def start_ports(directory, edit=None):
    (directory / "docs").mkdir()
    (directory / "docs" / "x.txt").write_text("plain\n")
    (directory / "code").mkdir()
    (directory / "code" / "connections.py").write_text(CONNECTIONS)
    other, third = free_port(), free_port()
    text = PORTS.replace("{other}", str(other)).replace("{third}", str(third))
    server = Exact(directory, "mod_wsgi", text, modules=("env",), children=1)
    if edit is not None:
        server.edit = edit
    server.start()
    server.begin_test()
    return server, other, third


def say(port, data):
    """Send *data* and end; return what comes back."""
    got = []
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while block := connection.recv(65536):
            got.append(block)
    return b"".join(got)


def test_connections_are_answered_by_their_handler(public_dir):
    server, other, third = start_ports(public_dir)
    try:
        assert server.request("/x.txt").body == b"plain\n"
        for _ in range(3):
            said = say(other, b"first\nsecond\nthird").decode().splitlines()
            assert said[0] == r"b'first\n' b'sec' b'on'"
            assert said[1].startswith(f"127.0.0.1 {other} ")
            assert said[2] == "below.test {'outer': '1', 'inner': '2'}"
        assert "connection" in server.log() and ":notice]" in server.log()
        assert say(other, b"GET /x.txt HTTP/1.0\r\n\r\n") == b"below HTTP"
        data = b"x" * 300_000
        assert say(other, b"all\n" + data) == data
        assert say(other, b"").startswith(b"b'' b'' b''\n")
        server.expect("PythonConnectionHandler failed|  |of the handler|Traceback")
        server.expect(r"\w+Error: .*the connection can't be (written to|read)")
        assert say(other, b"raise\n") == b""
        # a client that never listens does no harm
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", other), 60) as gone:
                gone.sendall(b"first\n")
        answer = say(third, b"GET /x.txt HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"plain\n")
        assert not server.complaints()
    finally:
        server.stop()


def test_ports_are_closed_where_connections_cannot_be_answered(public_dir):
    def without_import(text):
        lines = [line for line in text.splitlines() if "WSGIImportScript" not in line]
        broken = "from handlers.runtime import httpd_abi; httpd_abi.MAGIC = 1\n"
        for path in re.findall(r"WSGIAccessScript (\S+)", text)[:1]:
            with open(path, encoding="utf-8") as file:
                script = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write(script.replace("\nworks = ", f"\n{broken}works = "))
        return "\n".join(lines) + "\n"

    server, other, _ = start_ports(public_dir, without_import)
    try:
        answer = say(other, b"GET /x.txt HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert "does not work, its ports are closed: its module magic number" in server.log()
        assert server.request("/x.txt").status == 200
    finally:
        server.stop()
