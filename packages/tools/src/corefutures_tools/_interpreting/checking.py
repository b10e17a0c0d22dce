"""`check`: imports modules in a fresh interpreter and in the main one, each in a child process, and compares.

Touches child processes, which run `probe`. Guarantees: a module that crashes, hangs or ends its process is told as
such, and harms nothing here.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from corefutures import create_executor
from corefutures.cli import UsageError

_PROBE: Final = Path(__file__).with_name("probe.py")

#: The verdicts, with what each means; all but the first one make the command fail.
VERDICTS: Final = {
    "loads": "the module loads as in the main interpreter",
    "without": "it loads, but without compiled parts that the main interpreter has",
    "differs": "it loads, but other public names or types come of it",
    "refused": "an extension module refuses to be loaded",
    "fails": "the import raises another error",
    "hangs": "the import does not end in time",
    "crashes": "the import, or the end of the interpreter, ends the process",
    "unusable": "the import fails in the main interpreter as well",
    "absent": "the distribution is not installed",
}


class Finding(NamedTuple):
    """What came of one module.

    Attributes:
        module: Its name; that of the distribution if this is absent.
        verdict: See `VERDICTS`.
        extensions: The extension modules that refuse, or that are not loaded.
        missing: Public names that only the main interpreter's module has.
        changed: Public names whose types differ.
        error: The error of the import, or another explanation.
        distributions: The distributions that the module comes from, with versions.
    """

    module: str
    verdict: str
    extensions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    error: str = ""
    distributions: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What a table says beside the verdict."""
        parts = []
        if self.extensions:
            parts.append(_listed(self.extensions))
        if self.verdict in ("fails", "hangs", "crashes", "unusable", "absent") or not (
            self.extensions or self.missing or self.changed
        ):
            parts.append(self.error)
        if self.missing:
            parts.append(f"missing: {_listed(self.missing)}")
        if self.changed:
            parts.append(f"other types: {_listed(self.changed)}")
        return "; ".join(part for part in parts if part)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


class Checker:
    """Checks modules with one Python.

    Args:
        python: The Python to run.
        folder: Where local modules are looked for.
        timeout: Seconds that an import may take.

    Attributes:
        version: That of the Python.
    """

    def __init__(self, python: str, folder: str, timeout: float) -> None:
        self._python = python
        self._folder = folder
        self._timeout = timeout
        self._origins: dict[str, tuple[str, ...]] = {}  # of the modules of distributions that were named
        found = self._described(())
        self.version: str = found["python"]
        if not found["interpreters"]:
            raise UsageError(
                f"Python {self.version} has no concurrent.interpreters, and so no interpreter pools: take Python 3.14"
                " or newer, with --python PATH"
            )

    def modules_of(self, requirements: Sequence[str]) -> tuple[list[str], list[Finding]]:
        """Return the top-level modules of distributions, and findings for those that are not installed."""
        known = self._described(requirements)["distributions"]
        modules: list[str] = []
        absent = []
        for name in requirements:
            if name in known:
                for module in known[name]["modules"]:
                    modules.append(module)
                    self._origins[module] = (f"{name} {known[name]['version']}",)
            else:
                absent.append(Finding(name, "absent", error=f"not installed for Python {self.version}"))
        return list(dict.fromkeys(modules)), absent

    def check(self, modules: Sequence[str], workers: int) -> Iterator[Finding]:
        """Yield a finding for each module, in the order given."""
        origins = {**self._described(modules)["modules"], **self._origins}
        with create_executor("thread", max_workers=workers) as executor:
            for finding in executor.map(self._check_one, modules):
                yield finding._replace(distributions=tuple(origins.get(finding.module, ())))

    def _check_one(self, module: str) -> Finding:
        here = self._run("main", module)
        if not isinstance(here, dict):
            return Finding(module, "unusable", error=f"in the main interpreter the import {here[1]}")
        if here["error"] is not None:
            return Finding(module, "unusable", error=f"{here['kind']}: {here['error']}")
        there = self._run("interpreter", module)
        if not isinstance(there, dict):
            return Finding(module, there[0], error=f"the import {there[1]}")
        return compared(module, here, there)

    def _run(self, where: str, *names: str) -> dict[str, Any] | tuple[str, str]:
        """Return the report of a child process; or a verdict, and what the import did."""
        with tempfile.TemporaryDirectory(prefix="corefutures-", ignore_cleanup_errors=True) as folder:
            file = os.path.join(folder, "report.json")
            command = [self._python, str(_PROBE), where, file, self._folder, *names]
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    timeout=self._timeout, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return "hangs", f"has not ended after {self._timeout:g} s"
            except OSError as exc:
                raise UsageError(f"{self._python!r} can't be run: {exc.strerror or exc}") from None
            try:
                with open(file, encoding="utf-8") as report:
                    found: dict[str, Any] = json.load(report)
            except (OSError, ValueError):
                found = {}
            if done.returncode < 0:
                after = " when the interpreter ended" if found else ""
                return "crashes", f"ended the process by signal {-done.returncode}{after}"
            if done.returncode or not found:
                said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
                return "crashes", f"ended the process with status {done.returncode} ({''.join(said) or 'silently'})"
            return found

    def _described(self, names: Sequence[str]) -> dict[str, Any]:
        found = self._run("describe", *names)
        if not isinstance(found, dict):
            raise UsageError(f"{self._python!r} is no Python that can be looked into: it {found[1]}")
        return found


def compared(module: str, here: dict[str, Any], there: dict[str, Any]) -> Finding:
    """Return the finding of what the main interpreter and a fresh one report."""
    refused = tuple(there["refused"])
    if there["error"] is not None:
        error = f"{there['kind']}: {there['error']}"
        return Finding(module, "refused" if refused else "fails", refused, error=error)
    lost = [name for name in here["extensions"] if name not in there["extensions"] and name not in refused]
    types, others = here["types"], there["types"]
    missing = tuple(sorted(types.keys() - others.keys()))
    changed = tuple(sorted(name for name in types.keys() & others.keys() if types[name] != others[name]))
    told = [text for text in there["warnings"] if text not in here["warnings"]]
    raised = [f"{name}: {text}" for name, text in there["failed"].items() if name not in here["failed"]]
    error = next(iter([*told, *raised]), "")
    if refused or lost:
        return Finding(module, "without", (*refused, *lost), missing, changed, error)
    if missing or changed or told or raised:
        return Finding(module, "differs", (), missing, changed, error)
    return Finding(module, "loads")
