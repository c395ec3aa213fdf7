"""What real mod_python answered to the oracle's requests, kept in a file.

Where mod_python is installed, each of its answers is compared with the file, so a recording that is
no longer true fails there; ``tests/run --record-oracle`` writes it anew. Everywhere else the same
tests compare the runtime with the file. It holds nothing of one machine or one moment: no ports,
process ids, times, temporary directories or line numbers.
"""

import base64
import email.message
import hashlib
import http.client
import json
import pathlib
import re
import time
import zlib
from email.utils import formatdate, parsedate_to_datetime

from tests.servers.httpd import Answer, Httpd

PATH = pathlib.Path(__file__).parent.parent / "oracle" / "recording.json"
RENEW = "where mod_python is installed, record anew with: tests/run --record-oracle"
# what differs from one request, or one server software, to the next
OF_THE_SERVER = ("date", "server", "connection", "keep-alive")
_LONG = 1000  # bytes; what is longer is kept compressed
_DIRECTORY = "{directory}"
_NOW = "{now}"
_LENGTH = "{length}"


class Recording:
    """Requests and mod_python's answers to them.

    :param path: the file, JSON with one request a line, sorted.
    :param file_body: a long body that many answers have; it is kept by its name alone.
    """

    def __init__(self, path: pathlib.Path = PATH, file_body: bytes = b""):
        self._path = path
        self._file_body = file_body
        self._entries: dict[str, dict] = {}

    def load(self) -> None:
        """Read the file.

        :raises OSError: if there is none.
        """
        entries = json.loads(self._path.read_text(encoding="utf-8"))
        self._entries = {_key(entry["request"]): entry for entry in entries}

    def save(self) -> None:
        """Write the file."""
        lines = [
            json.dumps(entry, ensure_ascii=False, sort_keys=True)
            for _, entry in sorted(self._entries.items())
        ]
        self._path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    def add(self, request: dict, **parts) -> None:
        """Keep *parts* of the answer to *request*.

        :raises AssertionError: if another answer to the same request was kept before.
        """
        entry = self._entries.setdefault(_key(request), {"request": request})
        for name, value in parts.items():
            kept = entry.setdefault(name, value)
            assert kept == value, f"two answers to {request}: {kept} and {value}"

    def find(self, request: dict) -> dict:
        """Return what was recorded for *request*.

        :raises AssertionError: if nothing was.
        """
        entry = self._entries.get(_key(request))
        assert entry is not None, f"nothing is recorded for {request}; {RENEW}"
        return entry

    def request(self, method: str, path: str, headers, body) -> dict:
        """Return a request as JSON has it."""
        request = {"method": method, "path": path}
        if headers:
            request["headers"] = {
                name: value.decode("latin-1") if isinstance(value, bytes) else value
                for name, value in headers.items()
            }
        if body is not None:
            if not isinstance(body, bytes):
                request["body"] = {"chunked": True}
            elif len(body) > _LONG:
                # zlib's bytes differ from one version to the next
                request["body"] = {"sha256": hashlib.sha256(body).hexdigest()}
            else:
                request["body"] = self._pack(body)
        return request

    def pack(self, answer: Answer, directory: str, port: int) -> dict:
        """Return *answer* as JSON has it, without what belongs to this machine and moment."""
        body = answer.body.replace(directory.encode(), _DIRECTORY.encode())
        body = re.sub(rb"(127\.0\.0\.1:|Port )%d\b" % port, rb"\g<1>80", body)
        if b"Mod_python error" in body:
            body = re.sub(rb", line \d+", rb", line 0", body)
        fields = [
            [name, self._pack_value(name.lower(), value, answer.body != body and len(answer.body))]
            for name, value in answer.headers.items()
            if name.lower() not in OF_THE_SERVER
        ]
        return {"status": answer.status, "fields": fields, "body": self._pack(body)}

    def unpack(self, entry: dict, directory: str) -> Answer:
        """Return the answer that *entry* keeps."""
        body = self._unpack(entry["body"]).replace(_DIRECTORY.encode(), directory.encode())
        headers = http.client.HTTPMessage()
        for name, value in entry["fields"]:
            value = value.replace(_NOW, formatdate(usegmt=True)).replace(_LENGTH, str(len(body)))
            email.message.Message.add_header(headers, name, value)
        return Answer(entry["status"], headers, body)

    def _pack_value(self, name, value, length):
        """Return the value of a header field; *length* is the body's if its text was changed."""
        if name == "expires" and abs(parsedate_to_datetime(value).timestamp() - time.time()) < 60:
            return _NOW
        if name == "content-length" and value == str(length):
            return _LENGTH
        if name == "allow":
            # another order at each start of Apache
            return ",".join(sorted(value.split(",")))
        if name == "etag" and not value.startswith(f'"{len(self._file_body):x}-'):
            # the size of a directory, which depends on the file system
            return re.sub(r'^"[0-9a-f]+-', '"1000-', value)
        return value

    def _pack(self, body: bytes):
        if self._file_body and body == self._file_body:
            return {"file": True}
        if len(body) <= _LONG:
            try:
                return body.decode()
            except UnicodeDecodeError:
                pass
        return {"zlib": base64.b64encode(zlib.compress(body, 9)).decode()}

    def _unpack(self, packed) -> bytes:
        if isinstance(packed, str):
            return packed.encode()
        if "file" in packed:
            return self._file_body
        return zlib.decompress(base64.b64decode(packed["zlib"]))


class RealServer(Httpd):
    """Real mod_python, whose answers are compared with a recording, or recorded.

    :param renew: whether they are recorded.
    """

    def __init__(self, directory, url, root, *, recording: Recording, renew: bool, **options):
        super().__init__(directory, "mod_python", url, root, **options)
        self._recording = recording
        self._renew = renew
        self._place = str(pathlib.Path(directory).parent)
        self._last: dict | None = None
        self._log_was_read = False

    def request(self, path, method="GET", headers=None, body=None, timeout=180) -> Answer:
        """Send one request, and record or compare the answer."""
        self._last = self._recording.request(method, path, headers, body)
        try:
            answer = super().request(path, method, headers, body, timeout)
        except http.client.RemoteDisconnected:
            self._note(ends=True)
            raise
        self._note(**self._recording.pack(answer, self._place, self.port))
        return answer

    def get(self, target: bytes, *fields: bytes, **options) -> int:
        """Send one request whose target and fields are any bytes, and record or compare the status.

        :param options: those of :meth:`Httpd.get`; they are not told apart in the recording.
        """
        self._last = _raw(target, fields)
        status = super().get(target, *fields, **options)
        self._note(status=status)
        return status

    def log(self, start=None) -> str:
        """Return what the error log holds; the recording keeps it for tests that read it."""
        self._log_was_read = True
        return super().log(start)

    def begin_test(self) -> None:
        """Forget what the log holds so far, and what was announced."""
        super().begin_test()
        self._log_was_read = False

    def complaints(self) -> list[str]:
        """Return unannounced warnings and errors, when the log is recorded or compared."""
        if self._log_was_read:
            self._note(log=_portable_lines(self.log(), self._place))
        return super().complaints()

    def _note(self, **parts):
        if self._renew:
            self._recording.add(self._last, **parts)
            return
        recorded = self._recording.find(self._last)
        recorded = {name: recorded.get(name) for name in parts}
        assert parts == recorded, f"{self._last} was recorded otherwise; {RENEW}"


class RecordedServer:
    """What :class:`RealServer` would answer, from its recording."""

    server = "mod_python"

    def __init__(self, directory, recording: Recording):
        self._recording = recording
        self._place = str(pathlib.Path(directory).parent)
        self._log: list[str] = []

    def request(self, path, method="GET", headers=None, body=None, timeout=180) -> Answer:
        """Return the recorded answer.

        :raises http.client.RemoteDisconnected: if the child of mod_python ended.
        """
        entry = self._recording.find(self._recording.request(method, path, headers, body))
        self._log += (line.replace(_DIRECTORY, self._place) for line in entry.get("log", ()))
        if entry.get("ends"):
            raise http.client.RemoteDisconnected("as it was recorded")
        return self._recording.unpack(entry, self._place)

    def get(self, target: bytes, *fields: bytes, **options) -> int:
        """Return the recorded status."""
        return self._recording.find(_raw(target, fields))["status"]

    def child_pids(self) -> list[int]:
        """Return no process ids: those that ended when it was recorded have failed then."""
        return []

    def log(self, start=None) -> str:
        """Return the recorded lines of the requests since the test began."""
        return "".join(f"{line}\n" for line in self._log)

    def begin_test(self) -> None:
        """Forget the lines so far."""
        self._log.clear()

    def expect(self, pattern: str) -> None:
        """Do nothing: what was unannounced has failed when it was recorded."""

    def complaints(self) -> list[str]:
        """Return nothing: what was unannounced has failed when it was recorded."""
        return []

    def stop(self) -> None:
        """Do nothing: nothing runs."""


def _raw(target, fields):
    """Return a request of any bytes as JSON has it."""
    lines = [line.decode("latin-1") for line in (target, *fields)]
    return {"method": "any bytes", "path": lines[0], "fields": lines[1:]}


def _key(request):
    return json.dumps((request["path"], request["method"], request), sort_keys=True)


def _portable_lines(log, directory):
    """Return mod_python's own lines of an error log, and those that handlers write."""
    lines = []
    for line in log.replace(directory, _DIRECTORY).splitlines():
        line = re.sub(r"^\[[^]]*\] (\[:\w+\] \[pid )[^]]*\]", r"\g<1>0]", line)
        if line.startswith("[:") and not re.search(r"\] (lookup|cache|sweep)[ :]", line):
            line = re.sub(r"(\[client [\d.]+):\d+\]", r"\g<1>:0]", line)
            line = re.sub(r"0x[0-9a-f]+", "0x0", line)
            lines.append(re.sub(r", line \d+", ", line 0", line))
    return lines
