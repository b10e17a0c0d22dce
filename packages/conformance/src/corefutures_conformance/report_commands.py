"""The subcommands of `corefutures conformance` on what is stored: `diff`, `verify`, `badge`, `certificate`.

None of them runs a rule. A target of the same name is reached by its place, `package.module:attr`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from corefutures.cli import CommandParser, UsageError
from corefutures_conformance.contract.changes import Changes
from corefutures_conformance.contract.versions import UnknownVersion, contract_version, versions
from corefutures_conformance.reporting import stored
from corefutures_conformance.reporting.badge import badge
from corefutures_conformance.reporting.certificate import certificate


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; its name is the first argument.

    Returns:
        The exit status.
    """
    run, parser = COMMANDS[arguments[0]]
    options = parser().parse_args(list(arguments[1:]))
    try:
        return run(options)
    except (stored.ReportError, UnknownVersion) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(str(error)) from error


def _diff_parser() -> CommandParser:
    parser = CommandParser(
        prog="corefutures conformance diff",
        description="Compare two versions of the contract, or two stored reports.",
        epilog="Exit status: 0 nothing got worse, 1 a target would become or became worse, 2 bad usage.\n"
        "example: corefutures conformance diff 1.0 1.1 --report report.json",
    )
    parser.add_argument("old", metavar="OLD", help="a version of the contract, or a report in JSON")
    parser.add_argument("new", metavar="NEW", help="the same, newer")
    parser.add_argument("--report", metavar="FILE", help="say what the new version means for the targets of a report")
    return parser


def _diff(options: argparse.Namespace) -> int:
    are_versions = [name in versions() for name in (options.old, options.new)]
    if not any(are_versions):
        if options.report:
            raise UsageError("--report belongs to the comparison of two versions of the contract")
        return _diff_of_reports(options.old, options.new)
    changes = Changes(contract_version(options.old), contract_version(options.new))
    print("\n".join(changes.lines()))
    worse = False
    for report in stored.read_reports(options.report) if options.report else []:
        certain, unknown = changes.consequences(report)
        worse |= bool(certain)
        print(f"\n{report['target']}: {len(certain)} rules would break for certain, {len(unknown)} must be run to know")
        for word, names in (("breaks", certain), ("to run", unknown)):
            print("".join(f"{word}   {name}\n" for name in names), end="")
        if unknown:
            chosen = " or ".join(dict.fromkeys(name.partition(".")[0] for name in unknown))
            print(f"run      corefutures conformance {report['target']} --contract {options.new} -k '{chosen}'")
    return int(worse)


def _diff_of_reports(old: str, new: str) -> int:
    before = {report["target"]: report for report in stored.read_reports(old)}
    after = {report["target"]: report for report in stored.read_reports(new)}
    if len(before) == len(after) == 1:  # one executor may be called by two names
        pairs = [(next(iter(before.values())), next(iter(after.values())))]
    else:
        pairs = [(before[name], after[name]) for name in before if name in after]
    if not pairs:
        raise UsageError(f"{old} and {new} have no target in common")
    any_worse = False
    for one, other in pairs:
        lines, worse = stored.differences(one, other)
        any_worse |= worse
        print("\n".join([f"{other['target']}: {len(lines)} differences", *lines]))
    return int(any_worse)


def _verify_parser() -> CommandParser:
    parser = CommandParser(
        prog="corefutures conformance verify",
        description="Tell whether stored reports can be relied on: schema, version and digest of the contract,\n"
        "completeness, levels, reasons, capabilities, and the verdict computed again from the rules.",
        epilog="Exit status: 0 all can be relied on, 1 some can't, 2 no report.",
    )
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="a report in JSON")
    return parser


def _verify(options: argparse.Namespace) -> int:
    any_problem = False
    for file in options.reports:
        for report in stored.read_reports(file):
            found = stored.problems(report)
            any_problem |= bool(found)
            state = "cannot be relied on" if found else "verified"
            contract = f"contract {report['contract']['version']}, {len(report['rules'])} rules"
            print(f"{file}: {report['target']}: {report['verdict']} ({contract}): {state}")
            print("".join(f"  {problem}\n" for problem in found), end="")
    return int(any_problem)


def _page_parser(name: str, description: str) -> CommandParser:
    parser = CommandParser(prog=f"corefutures conformance {name}", description=description)
    parser.add_argument("report", metavar="REPORT", help="a report in JSON on one target")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write")
    return parser


def _badge_parser() -> CommandParser:
    return _page_parser("badge", "Draw a badge in SVG: the verdict, the version of the contract, the rules kept.")


def _certificate_parser() -> CommandParser:
    return _page_parser("certificate", "Write a page on one target: the verdict, the facts, the exceptions.")


def _badge(options: argparse.Namespace) -> int:
    return _drawn(options, badge)


def _certificate(options: argparse.Namespace) -> int:
    return _drawn(options, certificate)


def _drawn(options: argparse.Namespace, draw: Callable[[stored.StoredReport], str]) -> int:
    """Write what is drawn of a report, which must be one that can be relied on: nobody shall publish another."""
    reports = stored.read_reports(options.report)
    if len(reports) != 1:
        raise UsageError(f"{options.report} has {len(reports)} targets; a report on one is needed")
    if found := stored.problems(reports[0]):
        more = f" (and {len(found) - 1} more: corefutures conformance verify)" if len(found) > 1 else ""
        raise UsageError(f"{options.report} cannot be relied on: {found[0]}{more}")
    Path(options.output).write_text(draw(reports[0]), encoding="utf-8")
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[], CommandParser]]] = {
    "diff": (_diff, _diff_parser),
    "verify": (_verify, _verify_parser),
    "badge": (_badge, _badge_parser),
    "certificate": (_certificate, _certificate_parser),
}
"""Each subcommand: its function, and the function that makes its parser."""
