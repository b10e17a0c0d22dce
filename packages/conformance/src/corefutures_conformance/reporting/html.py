"""The report as one self-contained page: verdicts, the broken rules, a matrix of rules and targets, a filter."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from itertools import groupby
from string import Template

from corefutures_conformance.reporting import causes, text
from corefutures_conformance.rules import Rule
from corefutures_conformance.verdict import OUTCOMES, Report, Result


def page(reports: Sequence[Report]) -> str:
    """Return the page for one or several targets."""
    found = [{result.rule.id: result for result in report.results} for report in reports]
    rules = list({result.rule.id: result.rule for report in reports for result in report.results}.values())
    bad = _broken(reports)
    first = [rule for rule in rules if rule.id in bad]
    rest = [rule for rule in rules if rule.id not in bad]
    targets = ", ".join(report.target for report in reports)
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"Conformance of {escape(targets)}",
        lead=f"{len(rules)} rules of the contract of concurrent.futures. A broken MUST makes a target "
        "nonconformant; a broken SHOULD is an advisory, unless the target declares the contract.",
        cards="".join(_card(report) for report in reports),
        filters="".join(
            f'<label class="{outcome}"><input type="checkbox" name="outcome" value="{outcome}" checked> '
            f"{outcome}</label>"
            for outcome in OUTCOMES
            if any(report.count(outcome) for report in reports)
        ),
        chapters="".join(
            [
                _section("Broken rules", sorted(first, key=lambda rule: bad[rule.id]), reports, found) if first else "",
                *(
                    _section(name.replace("_", " "), list(group), reports, found)
                    for name, group in groupby(rest, key=lambda rule: rule.chapter)
                ),
            ]
        ),
    )


def _broken(reports: Sequence[Report]) -> dict[str, tuple[bool, int]]:
    """Return the broken rules by id, each with its place: first what decides, rules of one cause side by side."""
    found: dict[str, tuple[bool, int]] = {}
    for report in reports:
        for group in causes.broken(report):
            place = (not group[0].decides(strict=report.strict), len(found))
            for result in group:
                found.setdefault(result.rule.id, place)
    return found


def _card(report: Report) -> str:
    total = max(1, len(report.results))
    counts = [(outcome, report.count(outcome)) for outcome in OUTCOMES if report.count(outcome)]
    bar = "".join(
        f'<i class="{outcome}" style="width:{100 * count / total:.2f}%" title="{count} {outcome}"></i>'
        for outcome, count in counts
    )
    facts = {
        "rules": ", ".join(f"{count} {outcome}" for outcome, count in counts),
        **report.environment,
        "contract": f"{report.contract.version}, {text.declaration(report)}",
        "selection": report.selection,
        **{
            name: f"{'yes' if value else 'no'} ({report.origins.get(name, '')})"
            for name, value in report.capabilities.items()
        },
    }
    scope = " <small>as far as selected</small>" if report.selection else ""
    terms = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items() if value)
    return (
        f'<article class="card"><h2><code>{escape(report.target)}</code></h2>'
        f'<div class="verdict {report.verdict}">{report.verdict}{scope}</div>'
        f'<div class="bar">{bar}</div><dl>{terms}</dl></article>'
    )


def _section(title: str, rules: list[Rule], reports: Sequence[Report], found: list[dict[str, Result]]) -> str:
    heads = "".join(f"<th>{escape(report.target)}</th>" for report in reports)
    rows = "".join(_row(rule, [results.get(rule.id) for results in found]) for rule in rules)
    return (
        f"<section><h2>{escape(title)}</h2>"
        f'<div class="scroll"><table><thead><tr><th>rule</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _row(rule: Rule, results: list[Result | None]) -> str:
    outcomes = " ".join(result.outcome if result else "not-run" for result in results)
    cells = "".join(_cell(result) for result in results)
    level = next((result.level for result in results if result), rule.written_level)
    text = escape(f"{rule.id} {rule.statement} {rule.source}".lower(), quote=True)
    return (
        f'<tr data-outcomes="{outcomes}" data-text="{text}"><td class="rule">'
        f'<span class="level">{level}</span> <span class="id">{escape(rule.id)}</span>'
        f'<div class="says">{escape(rule.statement)} ({escape(rule.source)})</div></td>{cells}</tr>'
    )


def _cell(result: Result | None) -> str:
    if result is None:
        return "<td></td>"
    message = f'<div class="message">{escape(result.message)}</div>' if result.message else ""
    details = (
        f"<details><summary>details</summary><pre>{escape(result.details)}</pre></details>" if result.details else ""
    )
    return f'<td><span class="outcome {result.outcome}">{result.outcome}</span>{message}{details}</td>'
