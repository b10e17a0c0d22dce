"""Collects tests/cpython only where it is named: CPython's own suite has its own command, `make cpython`."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

import pytest

CPYTHON_SUITE = Path(__file__).parent / "tests" / "cpython"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not collection_path.is_relative_to(CPYTHON_SUITE):
        return None
    named = (Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(CPYTHON_SUITE) for path in named) else True


def pytest_report_header() -> str:
    build = ""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        build = f"free-threaded, GIL {'on' if sys._is_gil_enabled() else 'off'}: "
    start_method = os.environ.get("COREFUTURES_TEST_START_METHOD", "not forced")
    return f"{build}{platform.python_implementation()} {sys.version.split()[0]}, start method {start_method}"
