"""The build backend (PEP 517): setuptools, on a copy of the sources.

By itself setuptools leaves ``build/`` and ``*.egg-info`` beside the sources, and what lies in
``build/`` gets into the next wheel, deleted modules too.
"""

import contextlib
import os
import shutil
import sys
import tempfile

from setuptools import build_meta

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


def get_requires_for_build_wheel(config_settings=None) -> list[str]:
    """Return what is needed beside ``requires`` in pyproject.toml: nothing."""
    return []


get_requires_for_build_sdist = get_requires_for_build_wheel
# of an editable install the sources themselves are a part
build_editable = build_meta.build_editable


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None) -> str:
    """Build the wheel; return its file name."""
    with _copy():
        return build_meta.build_wheel(wheel_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None) -> str:
    """Build the archive of the sources; return its file name."""
    with _copy():
        return build_meta.build_sdist(sdist_directory, config_settings)


@contextlib.contextmanager
def _copy():
    """Work in a copy of this directory for the length of a with block."""
    here = os.getcwd()
    _forget_compiled()
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, "sources")
        shutil.copytree(here, copy, symlinks=True, ignore=_LEFT_OUT)
        os.chdir(copy)
        try:
            yield
        finally:
            os.chdir(here)


def _forget_compiled() -> None:
    """Delete what Python compiled when it imported this module."""
    for module in (sys.modules[__name__], sys.modules[__package__]):
        with contextlib.suppress(OSError, TypeError):
            os.unlink(module.__cached__)
            os.rmdir(os.path.dirname(module.__cached__))
