"""The version of mod_python whose API this is, and of the Apache it runs in."""

import sys

__all__ = [
    "APR_VERSION",
    "HTTPD",
    "HTTPD_VERSION",
    "LIBEXECDIR",
    "PYTHON_BIN",
    "SYSCONFDIR",
    "version",
]

#: of mod_python's API, not of this package
version = "3.5.0"

# what mod_python's build writes down; empty where only a build would know
HTTPD = ""
HTTPD_VERSION = "2.4"
APR_VERSION = ""
LIBEXECDIR = "/usr/lib/apache2/modules"
SYSCONFDIR = "/etc/apache2"
PYTHON_BIN = sys.executable
