"""The filter of system calls, run as the kernel runs it, for machines not at hand, too."""

import errno
import struct

import pytest

from handlers.maker import confinement

#: linux/audit.h: the machine's number in elf-em.h, with the flags for 64 bits and little endian.
ARCHITECTURES = {"x86_64": 62 | 0xC0000000, "aarch64": 183 | 0xC0000000}
OTHERS = {"i386": 3 | 0x40000000, "arm": 40 | 0x40000000, "riscv64": 243 | 0xC0000000}
#: Numbers from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
NEEDED = {
    "x86_64": {
        **{"read": 0, "write": 1, "mmap": 9, "munmap": 11, "brk": 12, "sendto": 44, "recvmsg": 47},
        **{"futex": 202, "exit_group": 231, "newfstatat": 262, "accept4": 288, "getrandom": 318},
    },
    "aarch64": {
        **{"read": 63, "write": 64, "mmap": 222, "munmap": 215, "brk": 214, "sendto": 206},
        **{"recvmsg": 212, "futex": 98, "exit_group": 94, "newfstatat": 79, "accept4": 242},
        **{"ppoll": 73, "getrandom": 278},
    },
}
REFUSED = {
    "x86_64": {
        **{"open": 2, "socket": 41, "connect": 42, "bind": 49, "clone": 56, "fork": 57},
        **{"execve": 59, "kill": 62, "unlink": 87, "ptrace": 101, "openat": 257, "execveat": 322},
        **{"openat2": 437, "io_uring_setup": 425, "clone3": 435, "process_vm_writev": 311},
    },
    "aarch64": {
        **{"socket": 198, "connect": 203, "bind": 200, "clone": 220, "execve": 221, "kill": 129},
        **{"unlinkat": 35, "ptrace": 117, "openat": 56, "execveat": 281, "openat2": 437},
        **{"io_uring_setup": 425, "clone3": 435, "process_vm_writev": 271},
    },
}
OF_SELF = {
    "x86_64": {"sched_setscheduler": 144, "prlimit64": 302},
    "aarch64": {"sched_setscheduler": 119, "prlimit64": 261},
}
FCNTL = {"x86_64": 72, "aarch64": 25}
#: linux/fcntl.h: of descriptors and their flags, and of signals, locks, leases and pipes.
HARMLESS = {"F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4}
OTHER = {"F_SETLK": 6, "F_SETSIG": 10, "F_SETOWN_EX": 15, "F_SETLEASE": 1024, "F_NOTIFY": 1026}
PID = 70_000
ALLOWED, EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM


def asked(machine, number, architecture=None, first=0, second=1, third=2):
    """Return what the filter for *machine* says of a system call (linux/filter.h, seccomp(2))."""
    program = confinement.program(machine, PID)
    instructions = list(struct.iter_unpack("=HBBI", program))
    architecture = ARCHITECTURES[machine] if architecture is None else architecture
    arguments = first, second, third, 3, 4, 5
    data = struct.pack("=IIQ6Q", number, architecture, 0x7F0000000000, *arguments)
    accumulator, at, steps = 0, 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at, steps = at + 1, steps + 1
        # the kernel takes jumps forward only, and 4096 instructions
        assert steps <= len(instructions) <= 4096
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert value % 4 == 0 and value + 4 <= len(data)
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            at += if_true if accumulator == value else if_false
        elif code == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            at += if_true if accumulator >= value else if_false
        else:
            assert code == 0x06  # BPF_RET | BPF_K
            return value


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_that_computing_needs_are_allowed_and_others_refused(machine):
    assert {asked(machine, number) for number in NEEDED[machine].values()} == {ALLOWED}
    assert {asked(machine, number) for number in REFUSED[machine].values()} == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_number_is_answered_and_most_are_refused(machine):
    allowed = [number for number in range(600) if asked(machine, number) == ALLOWED]
    assert {asked(machine, number) for number in range(600)} == {ALLOWED, EPERM}
    assert 40 < len(allowed) < 70


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_about_processes_are_for_this_one(machine):
    for number in OF_SELF[machine].values():
        assert asked(machine, number, first=0) == ALLOWED
        assert asked(machine, number, first=1) == EPERM


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_signal_by_a_descriptor_is_for_this_process(machine):
    def answers(asks, *third):
        return {asked(machine, FCNTL[machine], None, 5, ask, *third) for ask in asks.values()}

    assert answers(HARMLESS) == {ALLOWED}
    assert answers(OTHER) == {EPERM}
    assert answers({"F_SETOWN": 8}, PID) == {ALLOWED}
    for other in (0, 1, PID + 1, -PID % (1 << 64)):
        assert answers({"F_SETOWN": 8}, other) == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_another_architecture_are_refused(machine):
    """A program of 64 bits can make those of 32, where the numbers mean other calls."""
    others = (ARCHITECTURES | OTHERS).items()
    for architecture in [number for name, number in others if name != machine]:
        for number in NEEDED[machine].values():
            assert asked(machine, number, architecture) == EPERM
    # the x32 ABI has the architecture of x86_64
    for number in NEEDED[machine].values():
        assert asked(machine, number | 0x40000000) == EPERM


def test_machine_that_is_not_known_has_no_filter(monkeypatch):
    assert confinement.program("riscv64", PID) is None
    monkeypatch.setattr(confinement, "program", lambda machine, pid: None)
    monkeypatch.setattr(confinement._libc, "prctl", lambda *_: 0)
    monkeypatch.setattr(confinement, "_restrict_files", lambda: True)
    assert confinement.confine() == ["seccomp"]
