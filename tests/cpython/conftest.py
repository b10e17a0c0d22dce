"""Reports which of CPython's own cases ran with our classes, by kind of executor."""

from __future__ import annotations

import importlib.util
import platform
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from .driver import SUITE

FATES = ("passed", "failed", "left out", "skipped by CPython", "not installed")
HEADS = ("kind", "collected", *FATES, "not selected")

#: kind → fate → number of cases; and under "collected" how many there are.
TALLY = pytest.StashKey[defaultdict[str, Counter[str]]]()


def ships_suite() -> bool:
    """Returns whether the running interpreter has the suite in its own standard library."""
    try:
        spec = importlib.util.find_spec(SUITE)
    except ModuleNotFoundError:
        return False
    return spec is not None and Path(str(spec.origin)).is_relative_to(sysconfig.get_path("stdlib"))


def missing_suite() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} here ships no {SUITE}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kind",
        action="append",
        default=[],
        metavar="KIND",
        help="only cases of this kind: future, thread, interpreter, process, process-fork, ...; repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = defaultdict(Counter)


def pytest_report_header() -> str:
    return f"CPython's own suite: {SUITE} of the running interpreter" if ships_suite() else missing_suite()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[TALLY]
    if not tally:
        return
    terminalreporter.section(f"CPython {platform.python_version()}'s own suite with our classes")
    rows = [(kind, *(tally[kind][fate] for fate in ("collected", *FATES))) for kind in sorted(tally)]
    rows = [(*row, row[1] - sum(row[2:])) for row in rows]
    rows.append(("all", *map(sum, zip(*(row[1:] for row in rows), strict=True))))
    terminalreporter.write_line("".join(f"{head:>20}" for head in HEADS))
    for row in rows:
        terminalreporter.write_line("".join(f"{cell:>20}" for cell in row))
