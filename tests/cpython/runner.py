"""Runs cases of a suite with our classes in place of the standard ones, in a process of its own.

`runner.py SUITE` lists the cases; `runner.py SUITE FOLDER LIMIT` runs those that standard input names, and
writes an event to standard output for each, as JSON. Guarantees: a case passes only with evidence that our
classes were used, there and in each script that it started, and that the standard ones were not.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import subprocess
import sys
import traceback
import unittest
from typing import Any, TextIO

#: The classes of the suite whose cases make their executors out of sight, or need none.
KINDS_BY_CLASS = {"FutureTests": "future", "FailingInitializerResourcesTest": "process"}


def kind_of(case: unittest.TestCase) -> str:
    """Returns what a case is about: future, thread, interpreter, or process with a start method."""
    from replacement import POOLS

    if (executor_type := getattr(case, "executor_type", None)) is None:
        return KINDS_BY_CLASS[type(case).__name__]
    kind = next(kind for kind, pool in POOLS.items() if pool == executor_type.__name__)
    return f"{kind}-{case.ctx}" if hasattr(case, "ctx") else kind


def find_cases(suite: str) -> dict[str, Any]:
    """Returns the name and kind of each case, and what could not be loaded."""
    loader = unittest.TestLoader()
    suites: list[Any] = [loader.loadTestsFromName(suite)]
    cases = []
    errors = list(loader.errors)
    while suites:
        found = suites.pop()
        if isinstance(found, unittest.TestSuite):
            suites.extend(reversed(list(found)))
        elif found.id().startswith(f"{suite}."):
            cases.append({"name": found.id().removeprefix(f"{suite}."), "kind": kind_of(found)})
        elif not errors:
            errors.append(f"found {found.id()}, which is no case of {suite}")
    return {"cases": cases, "errors": errors}


class Recorder(unittest.TestResult):
    """Weighs each case as it ends and reports it."""

    def __init__(self, events: TextIO, suite: str, folder: str, limit: float) -> None:
        super().__init__()
        from replacement import Evidence, install, spare_asyncio

        self._events = events
        self._suite = suite
        self._folder = folder
        self._limit = limit
        self._evidence = Evidence(folder)  # until the first case: of what the suite's modules make
        self._scripts: list[int] = []
        spare_asyncio()
        install(self._evidence)
        self._mark_scripts()

    # ── what unittest calls ──────────────────────────────────────────────────────────────────────────────

    def startTest(self, case: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(case)
        self._outcome, self._details = "passed", []
        self._evidence.folder = os.path.join(self._folder, f"case-{self.testsRun}")
        os.mkdir(self._evidence.folder)
        self._scripts.clear()
        print(f"--- {case.id()}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(self._limit)

    def stopTest(self, case: unittest.TestCase) -> None:  # noqa: N802
        faulthandler.cancel_dump_traceback_later()
        from test import support

        if support.environment_altered:
            support.environment_altered = False
            self._fail("the case left threads or processes behind")
        if self._outcome == "passed":
            for objection in self._objections(kind_of(case)):
                self._fail(objection)
        if self._outcome == "failed":
            gc.collect()  # its pool may be in a cycle with the traceback, and would stay to the very end
        self._report(case.id().removeprefix(f"{self._suite}."))
        super().stopTest(case)

    def addError(self, case: Any, error: Any) -> None:  # noqa: N802
        if isinstance(case, unittest.TestCase):
            self._fail(self._describe(error))
        else:  # set-up or tear-down of a class or module
            self._outcome, self._details = "failed", [self._describe(error)]
            self._report(case.id())

    def addFailure(self, case: unittest.TestCase, error: Any) -> None:  # noqa: N802
        self._fail(self._describe(error))

    def addSubTest(self, case: unittest.TestCase, subtest: unittest.TestCase, error: Any) -> None:  # noqa: N802
        if error is not None:
            self._fail(f"{subtest}\n{self._describe(error)}")

    def addSkip(self, case: unittest.TestCase, reason: str) -> None:  # noqa: N802
        if self._outcome == "passed":
            self._outcome, self._details = "skipped", [reason]

    def addUnexpectedSuccess(self, case: unittest.TestCase) -> None:  # noqa: N802
        self._fail("CPython expects the case to fail; with our classes it passes")

    # ── evidence ─────────────────────────────────────────────────────────────────────────────────────────

    def _mark_scripts(self) -> None:
        """Has each Python that a case starts load our classes, and remembers which those were."""
        from replacement import EVIDENCE
        from test.support import script_helper

        recorder = self
        start_with = os.path.join(os.path.dirname(os.path.abspath(__file__)), "script")

        class Popen(subprocess.Popen):  # type: ignore[type-arg]
            def __init__(self, args: Any, *positional: Any, **options: Any) -> None:
                is_script = isinstance(args, (list, tuple)) and args[0] == sys.executable
                if is_script:
                    env = dict(os.environ if options.get("env") is None else options["env"])
                    path = env.get("PYTHONPATH")
                    env["PYTHONPATH"] = os.pathsep.join([start_with, path] if path else [start_with])
                    env[EVIDENCE] = recorder._evidence.folder
                    options["env"] = env
                super().__init__(args, *positional, **options)
                if is_script:
                    recorder._scripts.append(self.pid)

        subprocess.Popen = Popen  # type: ignore[misc]
        # Otherwise the suite's scripts ignore the environment, and with it the replacement.
        script_helper.interpreter_requires_environment = lambda: True

    def _objections(self, kind: str) -> list[str]:
        """Returns why a case that passed has not shown that it tests our classes."""
        from replacement import POOLS, Evidence

        used = f"ours {POOLS.get(kind.partition('-')[0], 'Future')}"
        marks = self._evidence.read()
        # The suite's ready-made futures, with which every case may work, are made while it is loaded.
        marks.setdefault(os.getpid(), set()).update(Evidence(self._folder).read().get(os.getpid(), ()))
        objections = [
            f"the standard library's own classes took part: {mark}"
            for mark in sorted(set().union(*marks.values()))
            if mark.startswith("standard ")
        ]
        if used not in marks.get(os.getpid(), set()):
            objections.append(f"nothing shows that our classes took part: no mark {used!r}")
        for script in self._scripts:
            if "script" not in (found := marks.get(script, set())):
                objections.append("the case started a script that the replacement did not reach")
            elif used not in found:
                objections.append(f"our classes took no part in a script that the case started: no mark {used!r}")
        return objections

    # ── reports ──────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self, detail: str) -> None:
        if self._outcome != "failed":
            self._outcome, self._details = "failed", []
        self._details.append(detail)

    def _describe(self, error: Any) -> str:
        return "".join(traceback.format_exception(*error))

    def _report(self, name: str) -> None:
        event = {"case": name, "outcome": self._outcome, "detail": "\n".join(self._details)}
        self._events.write(f"{json.dumps(event)}\n")
        self._events.flush()


def main(arguments: list[str]) -> int:
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the cases print must not come between the events
    suite, *rest = arguments
    if not rest:
        from replacement import Evidence, install

        install(Evidence(os.devnull))
        json.dump(find_cases(suite), events)
        return 0
    folder, limit = rest
    names = json.load(sys.stdin)
    recorder = Recorder(events, suite, folder, float(limit))
    cases = unittest.defaultTestLoader.loadTestsFromNames([f"{suite}.{name}" for name in names])
    cases.run(recorder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
