"""One turn of a case: its site started, its children warmed, loaded by wrk, and stopped."""

import contextlib
import http.client
import resource
from typing import NamedTuple

from tests.benchmarks._load import Rate, cpu_seconds, request_rate
from tests.benchmarks._session_cases import Case

_PATH = "/session/"
_CONNECTIONS = 8
_WARM_REQUESTS = 20
# long enough for a client that waits for a cleanup of a million sessions
_PATIENCE = 120
# the ids, of equal length and one a line, are one text: a million of them are read at once
_LUA = """
local file = assert(io.open("{ids}", "rb"))
local ids = file:read("*a")
file:close()
local count = #ids / 33
math.randomseed({seed})
request = function()
  local start = math.random(0, count - 1) * 33
  return "GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nCookie: {cookie}="
    .. ids:sub(start + 1, start + 32) .. "\\r\\n\\r\\n"
end
"""


class Turn(NamedTuple):
    """What was measured.

    :ivar swept: expired sessions that were deleted during the turn.
    :ivar megabytes: resident memory of the largest child at the end.
    :ivar cpu: microseconds of CPU time of the children for each request, the sweep included; it is
        the figure that other work on the machine disturbs least.
    :ivar own: the same for a request of one client alone, minus that of a hello of the same child:
        what the session itself costs; 0 in turns with a sweep.
    """

    rate: Rate
    swept: int
    megabytes: float
    cpu: float
    own: float


def turn(case: Case, sweeping: bool, ids_file, warm_ids, expired, seconds: int, seed) -> Turn:
    """Measure *case* for some seconds, with or without its sweep.

    :param ids_file: the ids of the live sessions, one a line.
    :param warm_ids: some of them, for the first requests of each child.
    :param expired: ids of sessions that are stored as expired if there is a sweep.
    :raises RuntimeError: if a request fails, or does not find its session.
    """
    if sweeping:
        case.expire(expired)
    script = _LUA.format(ids=ids_file, seed=seed, path=_PATH, cookie=case.cookie)
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(case.site(sweeping))
        _warm(site.port, case, warm_ids)
        if sweeping:
            process = case.start(case.beside)
            stack.callback(process.join)
            stack.callback(process.terminate)
        rate, cpu = _measured(site, _PATH, seconds, script)
        megabytes = max(map(_resident, site.child_pids()))
        own = 0.0
        if not sweeping:
            # one client after the other: what children cost that fight for the caches is not asked
            shorter = max(1, seconds // 2)
            session, hello = (
                _measured(site, path, shorter, lua, 1)[1]
                for path, lua in ((_PATH, script), (case.hello, None))
            )
            own = session - hello
    swept = len(expired) - case.as_apache(case.present, expired) if sweeping else 0
    return Turn(rate, swept, megabytes, cpu, own)


def _measured(
    site, path: str, seconds: int, script: str | None, connections: int = _CONNECTIONS
) -> tuple[Rate, float]:
    """Return the rate of requests, and the microseconds of CPU time of the children for each."""
    children = site.child_pids()
    used = sum(map(cpu_seconds, children))
    rate = request_rate(site.port, path, seconds, connections, script=script, patience=_PATIENCE)
    used = sum(map(cpu_seconds, children)) - used
    return rate, used / (rate.per_second * seconds) * 1e6


def _warm(port: int, case: Case, ids: list[str]) -> None:
    """Send each child some requests: a kept connection is a child's own."""
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE))
            )
            for _ in range(_CONNECTIONS)
        ]
        for connection in connections:
            connection.connect()
        for number in range(_WARM_REQUESTS):
            for place, connection in enumerate(connections):
                sid = ids[(number * _CONNECTIONS + place) % len(ids)]
                connection.request("GET", _PATH, headers={"Cookie": f"{case.cookie}={sid}"})
                answer = connection.getresponse()
                said = answer.read().strip()
                if answer.status != 200 or not said.isdigit() or int(said) < 2:
                    raise RuntimeError(f"{case.name}: session not found: {answer.status} {said}")


def _resident(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
