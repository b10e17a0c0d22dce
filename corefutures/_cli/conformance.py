"""`corefutures conformance TARGET …`: certify executors from the command line.

Exit status 0: conformant, or conformant with exceptions; 1: nonconformant or incomplete; 2: usage, or no such target.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corefutures.conformance.rules import Rule
    from corefutures.conformance.verdict import Report, Result


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="corefutures conformance",
        description="Tell whether an executor keeps the contract of concurrent.futures, rule by rule.",
    )
    made.add_argument("targets", nargs="*", metavar="TARGET", help="a backend's name, or package.module:attr")
    made.add_argument(
        "-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="option of the factory"
    )
    made.add_argument(
        "-k",
        dest="expression",
        default="",
        metavar="EXPR",
        help="only rules whose id matches, as with pytest -k",
    )
    made.add_argument("--list", action="store_true", help="list the rules and stop")
    made.add_argument("--repeat", type=_positive(int), default=1, metavar="N", help="run each rule N times")
    made.add_argument(
        "--deadline",
        type=_positive(float),
        default=30.0,
        metavar="SECONDS",
        help="for each rule (default: 30)",
    )
    made.add_argument(
        "--capabilities", default="", metavar="NAME=yes|no,…", help="declare what could not be probed"
    )
    made.add_argument("--strict", action="store_true", help="a failed SHOULD counts like a failed MUST")
    made.add_argument("--json", metavar="FILE", help="write the report as JSON; - for standard output")
    made.add_argument("--html", metavar="FILE", help="write the report as a page")
    made.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    made.add_argument("-q", "--quiet", action="store_true", help="print only the verdict")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(arguments)
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(
            f"{' and '.join(missing)} not found: the kit needs them; install corefutures[conformance]"
        )
    from corefutures.conformance.examiner import ExaminationError
    from corefutures.conformance.target import Target, TargetError, read_options

    if "" not in sys.path:
        sys.path.insert(
            0, ""
        )  # as with `python -m`, which runs the rules: targets of the current folder are found
    try:
        rules = _selected(options.expression)
        if options.list:
            for rule in rules:
                print(f"{rule.id:<60} {rule.written_level:<6} {rule.source}")
            return 0
        if not options.targets:
            return _refuse("name a target: a backend's name, or package.module:attr")
        given = _capabilities(options.capabilities)
        targets = [Target(name, read_options(options.options)) for name in options.targets]
        for target in targets:
            target.check()
        reports = [_certify(target, rules, given, options) for target in targets]
        _write(reports, options)
    except (TargetError, ExaminationError, ValueError, OSError) as error:
        return _refuse(str(error))
    good = {"conformant", "conformant-with-exceptions"}
    return 0 if all(report.verdict in good for report in reports) else 1


def _refuse(why: str) -> int:
    print(f"corefutures conformance: {why}", file=sys.stderr)
    return 2


def _positive(kind: type[int] | type[float]):  # type: ignore[no-untyped-def]
    def read(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be greater than 0, not {text}")
        return value

    read.__name__ = kind.__name__
    return read


def _selected(expression: str) -> list[Rule]:
    from corefutures.conformance.executor_tests import RULES
    from corefutures.conformance.selection import matcher

    rules = list(RULES.values())
    if expression:
        matches = matcher(expression)
        rules = [rule for rule in rules if matches(rule.id)]
        if not rules:
            raise ValueError(f"no rule matches {expression!r}; see --list")
    return rules


def _capabilities(text: str) -> dict[str, bool]:
    from corefutures.conformance.capabilities import NAMES

    given = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in NAMES or value not in ("yes", "no"):
            raise ValueError(
                f"{part!r} is not NAME=yes or NAME=no with one of the capabilities {', '.join(NAMES)}"
            )
        given[name] = value == "yes"
    return given


def _certify(target, rules: list[Rule], given: dict[str, bool], options: argparse.Namespace) -> Report:  # type: ignore[no-untyped-def]
    from corefutures.conformance.certification import certify
    from corefutures.conformance.reporting import text

    out = sys.stderr if options.json == "-" else sys.stdout

    def progress(result: Result) -> None:
        print(text.letter(result, strict=options.strict), end="", file=sys.stderr, flush=True)

    report = certify(
        target,
        rules,
        deadline=options.deadline,
        repeat=options.repeat,
        given=given,
        strict=options.strict,
        selection=f"-k {options.expression}" if options.expression else "",
        progress=progress if sys.stderr.isatty() and not options.quiet else lambda result: None,
    )
    if not options.quiet:
        command = " ".join(
            ["corefutures conformance", target.name, *(f"-o {option}" for option in options.options)]
        )
        print("", text.header(report), "", *text.chapters(report), "", sep="\n", file=out)
        print(*text.failures(report, command), sep="\n\n", file=out)
        if report.gave_up:
            print("gave up: too many rules were overdue", file=out)
    print(text.summary(report), file=out, flush=True)
    return report


def _write(reports: list[Report], options: argparse.Namespace) -> None:
    from corefutures.conformance.reporting import text

    if len(reports) > 1 and not options.quiet:
        print("", text.matrix(reports), sep="\n", file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        data = [report.to_json() for report in reports]
        content = json.dumps(data[0] if len(data) == 1 else {"targets": data}, indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(content)
        else:
            Path(options.json).write_text(content, encoding="utf-8")
    if options.html:
        from corefutures.conformance.reporting.html import page

        Path(options.html).write_text(page(reports), encoding="utf-8")
    if options.junit:
        from corefutures.conformance.reporting.junit import document

        Path(options.junit).write_text(document(reports), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
