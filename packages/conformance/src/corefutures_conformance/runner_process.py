"""The process that runs rules, one at a time, as its runner commands.

Commands come as lines of JSON on standard input, records leave as lines of JSON on standard output; both
are taken away from the code under test. Spawned workers import this module as their main module: at the top
it imports next to nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from typing import IO, Any


def main(settings: dict[str, Any]) -> int:
    """Collect the rules with pytest and run them as commanded, until standard input ends.

    Args:
        settings: `arguments` for pytest, `deadline` in seconds, `stacks`: the file that stacks are dumped to.
    """
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    records = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what the code under test prints goes where errors go

    import faulthandler  # here and below: imported on demand, because spawned workers import this module

    import pytest

    # Stays open as long as the process.
    stacks = open(settings["stacks"], "w+", encoding="utf-8", errors="replace")  # noqa: SIM115
    faulthandler.enable(stacks, all_threads=True)
    pytest.register_assert_rewrite("corefutures_conformance.suite")

    _obey(settings)
    plugin = _lockstep(commands, records, stacks, settings)
    return int(pytest.main([*_PYTEST, *settings["arguments"]], plugins=[plugin]))


_PYTEST = [
    "-p", "corefutures_conformance.fixtures",
    "-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:timeout", "-p", "no:unraisableexception",
    "-p", "no:threadexception", "-p", "no:warnings", "-p", "no:randomly",
    "--capture=no", "--strict-config", "-qq", "--no-header", "--no-summary",
    "-o", "python_functions=test probe_", "-o", "addopts=", "-o", "console_output_style=classic",
]  # fmt: skip


def _obey(settings: dict[str, Any]) -> None:
    from corefutures_conformance import deadlines, seeding, target

    deadlines.set_limit(0.6 * settings["deadline"])
    target.set_target(settings["target"])
    seeding.set_seed(settings["seed"])


def _lockstep(commands: IO[str], records: IO[str], stacks: IO[str], settings: dict[str, Any]) -> object:
    """Return the pytest plugin that replaces pytest's own loop over the collected items."""
    import contextlib
    import faulthandler
    import inspect
    import time

    import pytest

    from corefutures_conformance.deadlines import Overdue
    from corefutures_conformance.executor_tests import RULES
    from corefutures_conformance.fixtures import CAPABILITIES, TAINTED
    from corefutures_conformance.tracebacks import shown, stacks as without_ours, with_place

    def send(record: dict[str, Any]) -> None:
        records.write(json.dumps(record) + "\n")
        records.flush()

    def dumped() -> str:
        faulthandler.dump_traceback(stacks, all_threads=True)
        stacks.seek(0)
        text = stacks.read()
        stacks.seek(0)
        stacks.truncate()
        return text

    def forget_noise() -> None:
        """Empty the file that this process prints into, so that in the end it says what the last rule printed."""
        with contextlib.suppress(OSError):
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)

    class Lockstep:
        def __init__(self) -> None:
            self.problems: list[str] = []
            self.record: dict[str, Any] = {}

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                self.problems.append(report.longreprtext)

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            items = {item.nodeid: item for item in session.items}
            session.config.stash[CAPABILITIES] = settings["capabilities"]
            send({"ready": list(items), "problems": self.problems})
            for line in commands:
                command = json.loads(line)
                if "settings" in command:
                    settings.update(command["settings"])
                    session.config.stash[CAPABILITIES] = settings["capabilities"]
                    _obey(settings)
                    continue
                item = items[command["run"]]
                forget_noise()
                self.record = {"outcome": "passed", "message": "", "details": "", "value": None}
                session.config.stash[TAINTED] = False
                rule = RULES.get(item.name)
                limit = settings["deadline"] * (rule.patience if rule else 1.0)
                started = time.monotonic()
                faulthandler.dump_traceback_later(0.95 * limit, file=stacks)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=items.get(command["next"]))
                faulthandler.cancel_dump_traceback_later()
                stacks.seek(0)
                stacks.truncate()
                send(
                    {
                        **self.record,
                        "run": command["run"],
                        "seconds": time.monotonic() - started,
                        "tainted": session.config.stash[TAINTED],
                    }
                )
            return True

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
            if not pyfuncitem.name.startswith("probe_"):
                return None
            names = inspect.signature(pyfuncitem.obj).parameters
            self.record["value"] = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
            return True

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(self, item: pytest.Item) -> None:
            rule = RULES.get(item.name)
            reason = rule.inapplicable(settings["capabilities"]) if rule else None
            if reason is not None:
                pytest.skip(reason)

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(
            self, item: pytest.Item, call: pytest.CallInfo[None]
        ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
            report = yield
            if report.passed or self.record["outcome"] in ("failed", "overdue"):
                return report
            assert call.excinfo is not None
            error = call.excinfo.value
            if report.skipped:
                self.record |= {"outcome": "not-applicable", "message": getattr(error, "msg", str(error))}
                return report
            overdue = isinstance(error, Overdue)
            stacks_now = dumped() if overdue else ""
            text = with_place(_said(error), stacks_now) if overdue else _said(error)
            where = "" if report.when == "call" else f"in {report.when}: "
            self.record |= {
                "outcome": "overdue" if overdue else "failed",
                "message": where + text,
                "details": without_ours(stacks_now) if overdue else shown(error),
            }
            if overdue:
                item.config.stash[TAINTED] = True
            return report

    return Lockstep()


def _said(error: BaseException) -> str:
    """Return what a failure says, in short."""
    try:
        text = str(error).strip()
    except Exception:
        text = "(its str raises)"
    if not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text.split("\nassert ")[0]


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
