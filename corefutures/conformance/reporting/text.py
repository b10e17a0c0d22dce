"""The report as text: header, a line for each chapter, and for each broken rule how to reproduce it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from corefutures.conformance.verdict import OUTCOMES, Report, Result

_LETTERS = {
    "passed": ".", "failed": "F", "overdue": "T", "expected-failure": "x", "not-applicable": "-", "not-run": "?",
}  # fmt: skip


def letter(result: Result, *, strict: bool = False) -> str:
    """One character for a result; a broken rule that does not decide is in lower case."""
    sign = _LETTERS[result.outcome]
    return sign.lower() if result.bad and not result.decides(strict=strict) else sign


def header(report: Report) -> str:
    """Target, place and capabilities."""
    lines = [f"target        {report.target}"]
    lines += [f"{key:<13} {value}" for key, value in report.environment.items()]
    lines += [
        f"{'capabilities' if not number else '':<13} {name} = {'yes' if value else 'no'} ({report.origins[name]})"
        for number, (name, value) in enumerate(report.capabilities.items())
    ]
    lines.append(f"contract      {'declared: SHOULD counts as MUST' if report.contract else 'not declared'}")
    if report.selection:
        lines.append(f"selection     {report.selection}: the verdict is on these rules alone")
    return "\n".join(lines)


def full(report: Report, command: str) -> str:
    """Everything but the summary.

    Args:
        report: what was found out.
        command: the command that certifies the target, without a selection.
    """
    parts = [header(report), "\n".join(chapters(report)), *failures(report, command)]
    if report.gave_up:
        parts.append("gave up: too many rules were overdue")
    return "\n" + "\n\n".join(parts) + "\n"


def chapters(report: Report) -> Iterator[str]:
    """A line for each chapter."""
    for name, group in groupby(report.results, key=lambda result: result.rule.chapter):
        results = list(group)
        signs = "".join(letter(result, strict=report.strict) for result in results)
        passed = sum(result.outcome == "passed" for result in results)
        seconds = sum(result.seconds for result in results)
        yield f"{name:<15} {passed:>3}/{len(results):<3} {seconds:6.1f} s  {signs}"


def failures(report: Report, command: str) -> Iterator[str]:
    """For each broken rule: what it demands, what happened, how to reproduce it alone."""
    for result in report.results:
        if result.bad:
            kind = result.outcome if result.decides(strict=report.strict) else f"{result.outcome}, advisory"
            yield "\n".join(
                [
                    f"── {result.rule.id} ({result.level}, {kind})",
                    f"   demands   {result.rule.statement} ({result.rule.source})",
                    f"   happened  {result.message}",
                    f"   alone     {command} -k {result.rule.id}",
                    *(f"   │ {line}" for line in result.details.splitlines()),
                ]
            )
        elif result.outcome == "expected-failure":
            yield f"── {result.rule.id} ({result.level}, expected failure)\n   {result.message}"


def summary(report: Report) -> str:
    """The last line: counts and verdict."""
    counts = ", ".join(f"{report.count(outcome)} {outcome}" for outcome in OUTCOMES if report.count(outcome))
    advisories = sum(result.bad and not result.decides(strict=report.strict) for result in report.results)
    advice = f" ({advisories} advisory)" if advisories else ""
    return f"{report.target}: {report.verdict} – {counts or 'no rules'}{advice}"


def matrix(reports: Sequence[Report]) -> str:
    """Several targets side by side: the chapters, then each rule on which they differ."""
    names = [report.target for report in reports]
    found = [{result.rule.id: result for result in report.results} for report in reports]
    ids = list(dict.fromkeys(rule_id for results in found for rule_id in results))
    differing = [
        rule_id for rule_id in ids
        if len({results[rule_id].outcome if rule_id in results else None for results in found}) > 1
    ]  # fmt: skip
    width = max([len("verdict"), *(len(rule_id) for rule_id in differing)])
    columns = [f"{chr(ord('A') + number)}" for number in range(len(names))]
    lines = [f"{column} = {name}" for column, name in zip(columns, names, strict=True)]
    lines.append(f"{'rules on which they differ':<{width}}  " + " ".join(f"{column:<16}" for column in columns))
    for rule_id in differing:
        cells = [results[rule_id].outcome if rule_id in results else "" for results in found]
        lines.append(f"{rule_id:<{width}}  " + " ".join(f"{cell:<16}" for cell in cells))
    lines.append(f"{'verdict':<{width}}  " + " ".join(f"{report.verdict:<16}" for report in reports))
    return "\n".join(line.rstrip() for line in lines)
