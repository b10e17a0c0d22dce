"""Certify an executor, rule by rule.

Exit status 0: conformant, or conformant with exceptions; 1: nonconformant or incomplete; 2: usage, no such target,
or one that runs no call; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from corefutures.cli import (
    INTERRUPTED,
    CommandParser,
    UsageError,
    add_backend_options,
    backend_options,
    make_here_importable,
    seconds,
)

if TYPE_CHECKING:
    from corefutures_conformance.contract.versions import ContractVersion
    from corefutures_conformance.rules import Rule
    from corefutures_conformance.runner import Runner
    from corefutures_conformance.target import Target
    from corefutures_conformance.verdict import Report


STORED = ("diff", "verify", "badge", "certificate")
"""The subcommands of `report_commands`; their names are here because that module needs what may be missing."""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after `conformance`.

    Returns:
        The exit status.
    """
    missing = [name for name in ("pytest", "hypothesis", "fastjsonschema") if importlib.util.find_spec(name) is None]
    if missing:  # it was installed without its dependencies
        raise UsageError(f"the kit needs what is not installed: pip install {' '.join(missing)}")
    if arguments and arguments[0] in STORED:
        from corefutures_conformance import report_commands

        return report_commands.main(arguments)
    options = parser().parse_args(list(arguments))
    from corefutures_conformance.certification import try_out  # here: the kit may be imported now, and not before
    from corefutures_conformance.runner import RunnerError
    from corefutures_conformance.target import TargetError

    make_here_importable()
    if options.explain:
        return _explain(options)
    rules = _selected(options, _contract(options.contract))
    if options.list:
        for rule in rules:
            print(f"{rule.id:<60} {rule.written_level:<6} {rule.source}")
        return 0
    if not options.targets:
        raise UsageError("name a target: a backend's name, or package.module:attr")
    given = _capabilities(options.capabilities)
    _check_files(options)
    try:
        if options.bisect:
            return _bisect(options)
        targets = _targets(options)
        with _terminated_as_interrupted(), contextlib.ExitStack() as opened:
            runners = []
            for target in targets:
                runners.append(try_out(target, deadline=options.timeout))
                opened.callback(runners[-1].close)
            reports = list(_certified(targets, runners, rules, given, options))
        _write(reports, options)
    except (TargetError, RunnerError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(str(error)) from error
    if any(report.interrupted for report in reports):
        return INTERRUPTED
    good = {"conformant", "conformant-with-exceptions"}
    return 0 if all(report.verdict in good for report in reports) else 1


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM for an interrupt: a build server that ends what takes too long gets a report, too."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # a caller has decided what it does
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures conformance",
        description="Tell whether an executor keeps the contract of concurrent.futures, rule by rule.\n"
        "Several targets are compared side by side.",
        epilog="Exit status: 0 conformant (also with expected failures), 1 nonconformant or incomplete,\n"
        "2 bad usage, or a target that runs no call, 130 interrupted\n"
        "on stored reports: corefutures conformance diff, verify, badge, certificate (each has --help)\n"
        "example: corefutures conformance concurrent.futures:ProcessPoolExecutor -o mp_context=spawn",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="a backend's name, or package.module:attr")
    add_backend_options(parser)
    parser.add_argument("-k", dest="expression", default="", metavar="EXPR", help="only rules that match, as pytest -k")
    parser.add_argument("--fast", action="store_true", help="only a tenth of the rules, in seconds")
    parser.add_argument("--explain", metavar="RULE", help="explain a rule and stop: source, mistakes, program")
    parser.add_argument("--bisect", metavar="RULE", help="find the options that make a rule fail, and stop")
    parser.add_argument("--list", action="store_true", help="list the rules and stop")
    parser.add_argument("--contract", default="", metavar="X.Y", help="judge by this version (default: the newest)")
    parser.add_argument("--seed", type=_seed, metavar="N", help="where random histories start (default: fixed)")
    parser.add_argument("--repeat", type=_times, default=1, metavar="N", help="run each rule N times")
    parser.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="SECONDS", help="how long one rule may take (default: 30)"
    )
    parser.add_argument("--deadline", dest="timeout", type=seconds, help=argparse.SUPPRESS)  # as it was called once
    parser.add_argument("--capabilities", default="", metavar="NAME=yes|no,…", help="declare what could not be probed")
    parser.add_argument("--strict", action="store_true", help="a failed SHOULD counts like a failed MUST")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (- is standard output)")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page")
    parser.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the verdict")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def _times(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number greater than 0, not {text!r}")
    return int(text)


def _contract(version: str) -> ContractVersion:
    from corefutures_conformance.contract.versions import CURRENT, UnknownVersion, contract_version

    try:
        return contract_version(version or CURRENT)
    except UnknownVersion as error:
        raise UsageError(str(error)) from None


def _explain(options: argparse.Namespace) -> int:
    from corefutures_conformance.executor_tests import ExecutorTests
    from corefutures_conformance.explaining import explanation

    rule = _rule(options.explain)
    target = options.targets[0] if options.targets else "TARGET"
    print(explanation(rule, getattr(ExecutorTests, rule.method), target), end="")
    return 0


def _bisect(options: argparse.Namespace) -> int:
    from corefutures_conformance.bisection import bisect

    given = _capabilities(options.capabilities)
    rule = _rule(options.bisect)
    for target in _targets(options):
        print(f"{target.name}: {rule.id}")
        for line in bisect(target, rule, given=given, deadline=options.timeout):
            print(f"  {line}", flush=True)
    return 0


def _rule(name: str) -> Rule:
    """Return the rule with an id, or with an unmistakable end of one."""
    from corefutures_conformance.executor_tests import RULES

    rules = {rule.id: rule for rule in RULES.values()}
    found = [rules[name]] if name in rules else [rule for key, rule in rules.items() if key.endswith(f".{name}")]
    if len(found) != 1:
        like = difflib.get_close_matches(name, rules, 1, 0.4)
        raise UsageError(f"there is no rule {name!r}" + (f"; is it {like[0]}?" if like else "; --list shows them all"))
    return found[0]


def _selected(options: argparse.Namespace, contract: ContractVersion) -> list[Rule]:
    from corefutures_conformance.executor_tests import RULES
    from corefutures_conformance.fast import FAST
    from corefutures_conformance.selection import matcher

    expression = options.expression
    rules = [rule for rule in RULES.values() if rule.id in contract.rules and (not options.fast or rule.id in FAST)]
    if expression:
        try:
            matches = matcher(expression)
        except ValueError as error:
            raise UsageError(str(error)) from None
        rules = [rule for rule in rules if matches(rule.id)]
        if not rules:
            raise UsageError(f"no rule matches {expression!r}; --list shows them all")
    return rules


def _capabilities(text: str) -> dict[str, bool]:
    from corefutures_conformance.capabilities import NAMES

    given = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in NAMES or value not in ("yes", "no"):
            raise UsageError(f"{part!r} is not NAME=yes or NAME=no with one of the capabilities {', '.join(NAMES)}")
        given[name] = value == "yes"
    return given


def _check_files(options: argparse.Namespace) -> None:
    """Complain of a report that can't be written before minutes are spent on making it."""
    for name in filter(None, (options.json, options.html, options.junit)):
        file = Path(name)
        if name != "-" and (file.is_dir() or not file.parent.is_dir()):
            raise UsageError(f"cannot write {name}: {'it is a folder' if file.is_dir() else 'there is no such folder'}")


def _targets(options: argparse.Namespace) -> list[Target]:
    """Return the targets, all of which exist and can be told to another process."""
    from corefutures_conformance.target import Target

    made = [Target(name, backend_options(options.options)) for name in options.targets]
    for target in made:
        target.factory()
        target.to_text()
    return made


def _certified(
    targets: list[Target],
    runners: list[Runner],
    rules: list[Rule],
    given: dict[str, bool],
    options: argparse.Namespace,
) -> Iterator[Report]:
    """Certify one target after the other, each by its runner, printing as it goes, until somebody interrupts."""
    from corefutures_conformance.certification import certify
    from corefutures_conformance.reporting import text

    contract = _contract(options.contract)
    out = _text_stream(options)
    chosen = [f"-k {shlex.quote(options.expression)}"] if options.expression else []
    chosen = ["--fast", *chosen] if options.fast else chosen
    selection = f"{' '.join(chosen)}, {len(rules)} of {len(contract.rules)} rules" if chosen else ""
    for target, runner in zip(targets, runners, strict=True):
        progress = text.Progress(StringIO() if options.quiet else out, rules, strict=options.strict)
        report = certify(
            target,
            rules,
            deadline=options.timeout,
            repeat=options.repeat,
            given=given,
            strict=options.strict,
            selection=selection,
            contract=contract.version,
            seed=options.seed,
            probe_all=True,
            watcher=progress,
            runner=runner,
        )
        runner.close()
        progress.end()
        if not options.quiet:
            settings = [word for option in options.options for word in ("-o", option)]
            command = shlex.join(["corefutures", "conformance", target.name, *settings])
            print(text.findings(report, command), file=out)
        print(text.summary(report), file=out, flush=True)
        yield report
        if report.interrupted:
            return


def _text_stream(options: argparse.Namespace) -> TextIO:
    return sys.stderr if options.json == "-" else sys.stdout


def _write(reports: list[Report], options: argparse.Namespace) -> None:
    from corefutures_conformance.reporting import html, junit, stored, text

    if len(reports) > 1 and not options.quiet:
        print("", text.matrix(reports), sep="\n", file=_text_stream(options))
    if options.json:
        content = stored.canonical([report.to_json() for report in reports])
        if options.json == "-":
            sys.stdout.write(content)
        else:
            Path(options.json).write_text(content, encoding="utf-8")
    if options.html:
        Path(options.html).write_text(html.page(reports), encoding="utf-8")
    if options.junit:
        Path(options.junit).write_text(junit.document(reports), encoding="utf-8")
