"""Shutting a process in: from then on it opens, connects to and executes nothing.

What it needs must be open and imported before. Two walls stand one behind the other: Landlock
(landlock(7)) takes every file, TCP port and foreign process away, and a seccomp filter (seccomp(2))
leaves the system calls that computing, and answering on an open socket, need. Both can only be
tightened, and no_new_privs keeps a set-user-ID program from being a way out.
"""

import ctypes
import errno
import os
import struct

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# the same number on every architecture
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
#: The first version of Landlock's ABI that knows so many kinds of access to files, linux/landlock.h
_FILE_ACCESS = {1: 13, 2: 14, 3: 15, 5: 16}
_NET_SINCE, _SCOPE_SINCE = 4, 6
#: Binding and connecting of TCP; abstract Unix sockets and signals outside of the process.
_NET_ACCESS, _SCOPES = 0b11, 0b11

#: Machine -> its number in linux/audit.h, and its place in each entry of _CALLS.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: System calls that stay, with their numbers on x86_64 and aarch64; None where it has none.
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, None),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "accept": (43, 202),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "exit": (60, 93),
    "uname": (63, 160),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "geteuid": (107, 175),
    "getcwd": (79, 17),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    # of an open descriptor; a path it can look at, but not open
    "newfstatat": (262, 79),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "accept4": (288, 242),
    "getcpu": (309, 168),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
#: The same for calls whose first argument is a process: 0, which is this one.
_CALLS_OF_SELF = {"sched_setscheduler": (144, 119), "prlimit64": (302, 261)}
#: fcntl(2), and what it may be asked for, linux/fcntl.h: F_DUPFD, F_GETFD, F_SETFD, F_GETFL,
#: F_SETFL, F_DUPFD_CLOEXEC. By F_SETOWN and F_SETSIG it could send any process any signal, which
#: Landlock prevents from its ABI 6 on; so F_SETOWN may name this process only.
_FCNTL = (72, 25)
_FCNTL_ASKED = (0, 1, 2, 3, 4, 1030)
_F_SETOWN = 8

_INSTRUCTION = struct.Struct("=HBBI")
# linux/bpf_common.h: load a word, compare and jump, return
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
# struct seccomp_data: number, architecture, instruction pointer, arguments (low word first)
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, (16, 24, 32)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
# numbers from here on are those of the x32 ABI
_X32 = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def confine() -> list[str]:
    """Shut this process in, for good; return the names of the walls that this kernel has not.

    Only the calling thread is shut in, and what it starts: there must be no others.
    """
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return ["no_new_privs", "Landlock", "seccomp"]
    walls = {"Landlock": _restrict_files, "seccomp": _restrict_calls}
    return [name for name, raise_wall in walls.items() if not raise_wall()]


def _restrict_files() -> bool:
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    bits = max(count for since, count in _FILE_ACCESS.items() if since <= version)
    rules = [(1 << bits) - 1]
    if version >= _NET_SINCE:
        rules.append(_NET_ACCESS)
    if version >= _SCOPE_SINCE:
        rules.append(_SCOPES)
    attributes = (ctypes.c_uint64 * len(rules))(*rules)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        return _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _restrict_calls() -> bool:
    code = program(os.uname().machine, os.getpid())
    if code is None or struct.calcsize("P") != 8:
        return False
    # struct sock_fprog: the number of instructions, and where they are
    place = ctypes.create_string_buffer(code, len(code))
    told = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(place))
    return _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, told, 0, 0) == 0


def program(machine: str, pid: int) -> bytes | None:
    """Return the filter for a *machine*, as uname(2) names it; None if its numbers are not known.

    :param pid: of the process that it is for.

    It is a program of classic BPF (seccomp(2)): a call that is not in the table gets EPERM.
    """
    if machine not in _MACHINES:
        return None
    architecture, column = _MACHINES[machine]
    numbers = [call[column] for call in _CALLS.values() if call[column] is not None]
    of_self = [call[column] for call in _CALLS_OF_SELF.values()]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in of_self:
        code += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _ARGUMENTS_AT[0]),
            (_EQUAL, 0, 1, 0),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    asked = [(_EQUAL, len(_FCNTL_ASKED) + 2 - at, 0, ask) for at, ask in enumerate(_FCNTL_ASKED)]
    code += [
        (_EQUAL, 0, len(asked) + 6, _FCNTL[column]),
        (_LOAD, 0, 0, _ARGUMENTS_AT[1]),
        *asked,
        (_EQUAL, 0, 3, _F_SETOWN),
        (_LOAD, 0, 0, _ARGUMENTS_AT[2]),
        (_EQUAL, 0, 1, pid),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code += [(_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    code += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)
