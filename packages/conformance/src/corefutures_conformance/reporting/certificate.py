"""A certificate: one page on one target, made from its stored report, for people who want the verdict."""

from __future__ import annotations

import shlex
from collections import Counter
from html import escape
from importlib import resources
from string import Template

from corefutures_conformance.reporting.badge import badge
from corefutures_conformance.reporting.stored import StoredReport

_COLUMNS = (("passed",), ("failed", "overdue"), ("expected-failure",), ("not-applicable",))


def certificate(report: StoredReport) -> str:
    """Return the page for one target."""
    contract, kit, environment = report["contract"], report["kit"], report["environment"]
    facts = {
        "target": report["target"],
        **{name: environment[name] for name in ("distribution", "options") if name in environment},
        "verdict": report["verdict"],
        "contract": f"{contract['version']}, {_declaration(contract['declared'])}",
        "rules": f"{len(report['rules'])}" + (f" ({report['selection']})" if report["selection"] else ""),
        "capabilities": ", ".join(name for name, value in report["capabilities"].items() if value) or "none",
        "Python": f"{environment['python']}, GIL {environment['gil']}",
        "platform": environment["platform"],
        "kit": f"{kit['distribution']} {kit['version']}",
        "date": report["date"],
    }
    template = Template(resources.files(__package__).joinpath("certificate.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"Conformance of {escape(report['target'])}",
        badge=badge(report),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()),
        chapters=_chapters(report),
        exceptions=_exceptions(report),
        command=escape(shlex.join(["corefutures", "conformance", report["target"], "--contract", contract["version"]])),
        digest=f"Digest of the rules: {escape(contract['digest'])}",
    )


def _declaration(declared: str | None) -> str:
    return f"declared {declared}: its promises count as MUST" if declared else "not declared by the target"


def _chapters(report: StoredReport) -> str:
    counts: dict[str, Counter[str]] = {}
    for rule in report["rules"]:
        counts.setdefault(rule["id"].partition(".")[0], Counter())[rule["outcome"]] += 1
    return "".join(
        f"<tr><td>{escape(chapter.replace('_', ' '))}</td>"
        + "".join(f'<td class="number">{sum(count[outcome] for outcome in column)}</td>' for column in _COLUMNS)
        + "</tr>"
        for chapter, count in counts.items()
    )


def _exceptions(report: StoredReport) -> str:
    parts = []
    for title, outcomes in (("Broken rules", ("failed", "overdue")), ("Known failures", ("expected-failure",))):
        rules = [rule for rule in report["rules"] if rule["outcome"] in outcomes]
        if rules:
            items = "".join(
                f"<li><code>{escape(rule['id'])}</code> ({rule['level']}): {escape(rule['statement'])} "
                f"{escape(rule['message'])}</li>"
                for rule in sorted(rules, key=lambda rule: rule["level"])
            )
            parts.append(f"<h2>{title}</h2><ul>{items}</ul>")
    return "".join(parts)
