"""The report as text: its head, a line for each chapter while its rules run, and for each cause what it broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from corefutures_conformance.certification import Watcher
from corefutures_conformance.reporting import causes
from corefutures_conformance.rules import Rule
from corefutures_conformance.verdict import OUTCOMES, Report, Result

_LETTERS = {
    "passed": ".", "failed": "F", "overdue": "T", "expected-failure": "x", "not-applicable": "-", "not-run": "?",
}  # fmt: skip


def letter(result: Result, *, strict: bool = False) -> str:
    """One character for a result; a broken rule that does not decide is in lower case."""
    sign = _LETTERS[result.outcome]
    return sign.lower() if result.bad and not result.decides(strict=strict) else sign


def declaration(report: Report) -> str:
    """Say whether the target declares a version of the contract, and what follows."""
    if report.declared is None:
        return "not declared"
    return f"declared {report.declared.version}: SHOULD counts as MUST"


def place(report: Report) -> str:
    """Target, place and selection."""
    lines = [f"target        {report.target}"]
    lines += [f"{key:<13} {value}" for key, value in report.environment.items()]
    lines.append(f"contract      {report.contract.version}, {declaration(report)}")
    if report.selection:
        lines.append(f"selection     {report.selection}: the verdict is on these alone")
    return "\n".join(lines)


def capabilities(report: Report) -> str:
    """Return what the target can do, and how that is known."""
    return "\n".join(
        f"{'capabilities' if not number else '':<13} {name} = {'yes' if value else 'no'} ({report.origins[name]})"
        for number, (name, value) in enumerate(report.capabilities.items())
    )


_LEGEND = """\
legend        . kept   F broken   T overdue   f, t the same, as an advisory
              x known to fail   - does not apply   ? not run"""


class Progress(Watcher):
    """Prints the report while it is made: its head, then of each rule a letter, in a line for its chapter."""

    def __init__(self, out: TextIO, rules: Sequence[Rule], *, strict: bool) -> None:
        """Print to `out` what becomes of `rules`, which will be run in this order."""
        self._out = out
        self._strict = strict
        self._width = max(Counter(rule.chapter for rule in rules).values(), default=0)
        self._chapter: list[Result] = []

    def began(self, report: Report) -> None:
        """Print what is known before anything is run."""
        self._write(f"\n{place(report)}\n")

    def learned(self, report: Report) -> None:
        """Print what the probes found out."""
        self._write(f"{capabilities(report)}\n{_LEGEND}\n\n")

    def judged(self, result: Result) -> None:
        """Print one result's letter."""
        if self._chapter and self._chapter[0].rule.chapter != result.rule.chapter:
            self.end()
        if not self._chapter:
            self._write(f"{result.rule.chapter:<15} ")
        self._chapter.append(result)
        self._write(letter(result, strict=self._strict))

    def end(self) -> None:
        """Print the end of a chapter's line: how many rules were kept, and how long they took."""
        if self._chapter:
            results, self._chapter = self._chapter, []
            passed = sum(result.outcome == "passed" for result in results)
            seconds = sum(result.seconds for result in results)
            blank = " " * (self._width - len(results))
            self._write(f"{blank}  {passed:>3}/{len(results):<3} {seconds:6.1f} s\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def findings(report: Report, command: str) -> str:
    """Return what stands between the chapters and the summary: the broken rules, and those that are known to fail.

    Args:
        report: what was found out.
        command: the command that certifies the target, without a selection.
    """
    parts = [_finding(group, report, command) for group in causes.broken(report)]
    for group in causes.excused(report):
        reason = group[0].message if len(group) == 1 else group[0].message.partition(" [")[0]
        parts.append("\n".join([*_titles(group, "expected failure"), f"   {reason}"]))
    if report.gave_up:
        parts.append("gave up: too many rules were overdue")
    return "".join(f"\n{part}\n" for part in parts)


def _finding(group: Sequence[Result], report: Report, command: str) -> str:
    """Return what one cause broke: what that demands, what happened, how to reproduce it alone."""
    first = group[0]
    kind = first.outcome if first.decides(strict=report.strict) else f"{first.outcome}, advisory"
    lines = list(_titles(group, kind))
    if len(group) == 1:
        lines.append(f"   demands   {first.rule.statement} ({first.rule.source})")
    lines.append(f"   happened  {first.message}")
    lines.append(f"   alone     {command} -k {first.rule.id}")
    lines.append(f"   rule      {first.rule.place}")
    return "\n".join([*lines, *(f"   │ {line}" for line in first.details.splitlines())])


def _titles(group: Sequence[Result], kind: str) -> Iterator[str]:
    if len(group) == 1:
        yield f"── {group[0].rule.id} ({group[0].level}, {kind})"
    else:
        yield f"── {len(group)} rules for one cause ({kind})"
        yield from (f"   {result.level:<6}    {result.rule.id}" for result in group)


def summary(report: Report) -> str:
    """Return the last line: counts and verdict."""
    counts = ", ".join(f"{report.count(outcome)} {outcome}" for outcome in OUTCOMES if report.count(outcome))
    advisories = sum(result.bad and not result.decides(strict=report.strict) for result in report.results)
    advice = f" ({advisories} advisory)" if advisories else ""
    return f"{report.target}: {verdict(report)} – {counts or 'no rules'}{advice}"


def verdict(report: Report) -> str:
    """Return the verdict, and on what: a selection of rules says nothing about the others."""
    return f"{report.verdict} as far as selected ({report.selection})" if report.selection else report.verdict


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
    if selection := reports[0].selection:
        lines.append(f"as far as selected: {selection}")
    return "\n".join(line.rstrip() for line in lines)
