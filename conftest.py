"""Collects tests/cpython and tests/tools only where they are named (each has its command); settings of Hypothesis."""

from __future__ import annotations

import os
import platform
import signal
import sys
import sysconfig
from pathlib import Path

import hypothesis
import pytest

# A job in the background of a shell ignores Ctrl-C, which tests send, and so do the programs that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow to draw examples, and no test is wrong because of that.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

ONLY_WHEN_NAMED = [Path(__file__).parent / "tests" / name for name in ("cpython", "tools")]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    for folder in ONLY_WHEN_NAMED:
        if collection_path.is_relative_to(folder):
            named = (Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args)
            return None if any(path.is_relative_to(folder) for path in named) else True
    return None


def pytest_report_header() -> str:
    build = ""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        build = f"free-threaded, GIL {'on' if sys._is_gil_enabled() else 'off'}: "
    start_method = os.environ.get("COREFUTURES_TEST_START_METHOD", "not forced")
    return f"{build}{platform.python_implementation()} {sys.version.split()[0]}, start method {start_method}"
