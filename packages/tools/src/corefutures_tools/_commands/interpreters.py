"""Say which modules load in interpreters of their own, before calls of an interpreter pool need them.

Each module is imported twice, by child processes: in the main interpreter, and in a fresh one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from corefutures.cli import CommandParser, UsageError, seconds
from corefutures_tools._interpreting.checking import VERDICTS, Checker, Finding
from corefutures_tools._interpreting.sources import check_module, imports, requirements

_EPILOG: Final = """\
verdicts:
{verdicts}

Exit status: 0 all modules load, 1 one does not load or loads otherwise, 2 bad usage.

examples:
  corefutures interpreters check numpy requests
  corefutures interpreters check --requirements requirements.txt --json report.json
  corefutures interpreters check --program main.py""".format(
    verdicts="\n".join(f"  {name:<9} {meaning}" for name, meaning in VERDICTS.items())
)


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UsageError: Something can't be used.
    """
    parsed = parser().parse_args(arguments)
    modules = [check_module(name) for name in parsed.modules]
    distributions = [] if parsed.requirements is None else requirements(parsed.requirements)
    folder = os.getcwd()
    if parsed.program is not None:
        modules += imports(parsed.program)
        folder = os.path.dirname(os.path.abspath(parsed.program))
    if not modules and not distributions and parsed.requirements is None and parsed.program is None:
        raise UsageError("there is nothing to check: name modules, or give --requirements FILE or --program FILE")
    checker = Checker(parsed.python or sys.executable, folder, parsed.timeout)
    more, findings = checker.modules_of(distributions) if distributions else ([], [])
    modules = list(dict.fromkeys([*modules, *more]))
    for finding in checker.check(modules, parsed.jobs):
        if finding.module in parsed.modules and _is_nowhere(finding):
            raise UsageError(f"there is no module {finding.module!r} for Python {checker.version}")
        findings.append(finding)
    if parsed.json is not None:
        _write(parsed.json, checker.version, findings)
    if parsed.json != "-":
        print(table(checker.version, findings))
    return int(any(finding.verdict != "loads" for finding in findings))


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures interpreters",
        description="Say which modules load in interpreters of their own, as the calls of an interpreter pool need it.",
        epilog=_EPILOG,
    )
    parser.add_argument("action", choices=("check",), help="what to do; there is one thing so far")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="the name of a module")
    parser.add_argument("--requirements", metavar="FILE", help="check the distributions in a requirements file")
    parser.add_argument("--program", metavar="FILE", help="check what a program, and modules in its folder, import")
    parser.add_argument("--python", metavar="PATH", help="the Python to look into; the one that runs this by default")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="the time limit of an import")
    parser.add_argument("-j", "--jobs", type=_jobs, default=2, metavar="N", help="how many modules at once (2)")
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON; -: in place of the table")
    return parser


def _jobs(text: str) -> int:
    from argparse import ArgumentTypeError

    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"must be a number greater than 0, not {text!r}")
    return int(text)


def _is_nowhere(finding: Finding) -> bool:
    """Return whether the import has failed because there is no such module, or no package that would contain it."""
    parts = finding.module.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return finding.verdict == "unusable" and any(f"No module named {name!r}" in finding.error for name in names)


def table(python: str, findings: Sequence[Finding]) -> str:
    """Return the findings as text."""
    rows = [("module", "version", "verdict", "note")]
    rows += [(each.module, ", ".join(each.distributions), each.verdict, each.note) for each in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(3)), row[3]]).rstrip() for row in rows]
    counts = {verdict: sum(each.verdict == verdict for each in findings) for verdict in VERDICTS}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing to check"
    return "\n".join([*lines, "", f"Python {python}: {told}"])


def _write(file: str, python: str, findings: Sequence[Finding]) -> None:
    text = json.dumps({"python": python, "findings": [finding._asdict() for finding in findings]}, indent=2)
    if file == "-":
        print(text)
        return
    try:
        with open(file, "w", encoding="utf-8") as output:
            output.write(text + "\n")
    except OSError as exc:
        raise UsageError(f"{file} can't be written: {exc.strerror}") from None
