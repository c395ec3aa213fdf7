"""Which start of the server this process belongs to."""

import ctypes
import os

# enum of ap_mpm.h; the number of restarts that the server has been through
_AP_MPMQ_GENERATION = 15


def server_start() -> tuple[str, int]:
    """Return (server, generation), the same in all children of one start of httpd.

    *server* names the parent process, its time of birth and the boot of the machine, so that no
    other process ever has the same; it is empty where that cannot be told, as for a parent outside
    the container. *generation* grows by one with each restart that httpd survives (``apachectl
    restart`` and ``graceful``); outside httpd it is 0.
    """
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/stat", "rb") as file:
            # the second field, the program's name, may hold blanks and brackets
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read(8).decode()
        return f"{boot}-{parent}-{int(fields[19])}", _generation()
    except (OSError, ValueError, IndexError):
        return "", 0


def _generation() -> int:
    """Ask the httpd that this process is a child of; its own functions are in the process."""
    try:
        query = ctypes.CDLL(None).ap_mpm_query
    except (AttributeError, OSError):
        return 0
    number = ctypes.c_int(0)
    query.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_int))
    failed = query(_AP_MPMQ_GENERATION, ctypes.byref(number))
    return 0 if failed else number.value
