"""The survey as one self-contained page of the site: filters, a table of all executors, the broken rules, sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any

from tools.survey.markdown import EARLIER, by_executor, differences, title, version
from tools.survey.registry import BROKEN, Entry, Report, newest
from tools.survey.subjects import NOT_CERTIFIED, SUBJECTS

SOURCE = "https://github.com/corefutures/corefutures/blob/main/survey"
VERDICTS = ("conformant", "conformant-with-exceptions", "nonconformant", "incomplete")
OUTCOMES = ("passed", "expected-failure", "overdue", "failed", "not-applicable", "not-run")


def page(
    found: Sequence[Entry],
    shown: Mapping[tuple[str, str], str],
    before: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> str:
    """Return the page on all entries of the registry.

    Args:
        found: The entries.
        shown: The scripts that reproduce broken rules, by executor and rule.
        before: What an earlier kit said of executors without an entry.
    """
    groups = {slug: group for slug, group in by_executor(found).items() if newest(group)}
    forms = [form for group in groups.values() for form in _newest_forms(group)]
    capabilities = sorted({name for entry in forms for name in entry.report["capabilities"]})
    present = [verdict for verdict in VERDICTS if any(entry.report["verdict"] == verdict for entry in forms)]
    broken = _broken_rules(forms)
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        count=len(found),
        executors=len(groups),
        contracts=", ".join(sorted({entry.report["contract"]["version"] for entry in found})),
        verdicts="".join(
            f'<label class="{verdict}"><input type="checkbox" name="verdict" value="{verdict}" checked> {verdict}'
            "</label>"
            for verdict in present
        ),
        capabilities="".join(f"<option>{name}</option>" for name in capabilities),
        chapters="".join(
            f'<option value="{name}">{name.replace("_", " ")}</option>'
            for name in sorted({rule.partition(".")[0] for rule in broken})
        ),
        rows="".join(_row(group) for group in groups.values()),
        rules="".join(
            f'<tbody data-chapter="{chapter}"><tr class="chapter"><th colspan="2">{chapter.replace("_", " ")}</th></tr>'
            f"{''.join(_rule(broken[name], forms) for name in names)}</tbody>"
            for chapter, names in groupby(sorted(broken), key=lambda name: name.partition(".")[0])
        ),
        earlier=_earlier(before, by_executor(found)),
        others="; ".join(f"{name}: {_code(reason)}" for name, reason in NOT_CERTIFIED.items()),
        sections="".join(_section(group, shown) for group in groups.values()),
    )


def _earlier(before: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[Entry]]) -> str:
    rows = "".join(_earlier_row(slug, row, newest(groups.get(slug, ()), adapted=True)) for slug, row in before.items())
    numbers = '<th class="number">MUST broken<th class="number">SHOULD broken<th class="number">rules kept'
    heads = f'<th>executor<th>version<th>verdict{numbers}<th class="form">through adapt, today'
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<p class="lead">{EARLIER}</p><div class="scroll">{table}</div>' if rows else ""


def _earlier_row(slug: str, row: Mapping[str, Any], adapted: Entry | None) -> str:
    numbers = "".join(f'<td class="number">{row[name]}' for name in ("must", "should", "kept"))
    return (
        f"<tr><td>{escape(SUBJECTS[slug].name)}<td>{escape(row['version'])}"
        f'<td><span class="verdict {row["verdict"]}">{row["verdict"]}</span>{numbers}'
        f'<td class="form">{_verdict(adapted) if adapted else ""}</tr>'
    )


def _newest_forms(group: Sequence[Entry]) -> list[Entry]:
    """Return the newest entry of the bare form and that of the adapted form, where there is one."""
    return [entry for entry in (newest(group), newest(group, adapted=True)) if entry is not None]


def _broken_rules(forms: Sequence[Entry]) -> dict[str, Mapping[str, str]]:
    """Return the rules that an entry breaks, by id."""
    return {
        rule["id"]: rule
        for entry in forms
        for rule in entry.report["rules"]
        if rule["outcome"] in BROKEN and rule["level"] != "MAY"
    }


def _facts(entry: Entry) -> str:
    """Return the attributes by which the page filters: verdict and capabilities."""
    return f'data-verdict="{entry.report["verdict"]}" data-capabilities="{" ".join(entry.capabilities)}"'


def _row(group: Sequence[Entry]) -> str:
    entry, adapted = newest(group), newest(group, adapted=True)
    assert entry is not None
    text = escape(f"{entry.executor} {title(entry)} {version(entry)}".lower(), quote=True)
    facts = f"<div>{escape(version(entry))}, {_python(entry)}</div>"
    cells = [
        f'<td class="name"><a href="#{entry.executor}">{escape(title(entry))}</a>{facts}</td>',
        f'<td class="form">{_verdict(entry)}{_bar(entry)}</td>',
        _number("MUST broken", len(entry.broken("MUST"))),
        _number("SHOULD broken", len(entry.broken("SHOULD"))),
        _number("rules kept", entry.kept),
    ]
    if adapted is None:
        cells += ['<td class="form none">–</td>', '<td class="number"></td>']
    else:
        cells += [
            f'<td class="form" data-label="through adapt">{_verdict(adapted)}{_bar(adapted)}</td>',
            _number("MUST broken", len(adapted.broken("MUST"))),
        ]
    return f'<tr data-executor="{entry.executor}" data-text="{text}" {_facts(entry)}>{"".join(cells)}</tr>\n'


def _number(label: str, number: int) -> str:
    return f'<td class="number" data-label="{label}">{number}</td>'


def _verdict(entry: Entry) -> str:
    verdict = entry.report["verdict"]
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _bar(entry: Entry) -> str:
    total = max(1, len(entry.report["rules"]))
    numbers = {name: sum(n for (_, outcome), n in entry.counts.items() if outcome == name) for name in OUTCOMES}
    parts = "".join(
        f'<i class="{name}" style="width:{100 * number / total:.2f}%"></i>'
        for name, number in numbers.items()
        if number
    )
    said = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return f'<div class="bar" role="img" aria-label="{said}" title="{said}">{parts}</div>'


def _rule(rule: Mapping[str, str], forms: Sequence[Entry]) -> str:
    chips = "".join(_chip(entry, found) for entry in forms if (found := _broken(entry, rule["id"])))
    text = escape(f"{rule['id']} {rule['statement']} {rule['source']}".lower(), quote=True)
    return (
        f'<tr data-text="{text}"><td class="rule"><span class="level">{rule["level"]}</span> '
        f'<code>{rule["id"]}</code><div class="says">{_code(rule["statement"])} ({escape(rule["source"])})</div></td>'
        f"<td>{chips}</td></tr>\n"
    )


def _broken(entry: Entry, name: str) -> Mapping[str, str] | None:
    return next((rule for rule in _judged(entry) if rule["id"] == name and rule["outcome"] in BROKEN), None)


def _judged(entry: Entry) -> Sequence[Mapping[str, str]]:
    rules: Sequence[Mapping[str, str]] = entry.report["rules"]
    return rules


def _chip(entry: Entry, rule: Mapping[str, str]) -> str:
    form = " adapted" if entry.adapted else ""
    return (
        f'<a class="chip {rule["outcome"]}{form}" href="#{entry.executor}" {_facts(entry)} '
        f'title="{escape(rule["message"], quote=True)}">{entry.executor}{" + adapt" if entry.adapted else ""}</a> '
    )


def _section(group: Sequence[Entry], shown: Mapping[tuple[str, str], str]) -> str:
    entry, adapted = newest(group), newest(group, adapted=True)
    assert entry is not None
    subject = SUBJECTS.get(entry.executor)
    notes = f"<p>How it was made: {_code(subject.note)}.</p>" if subject and subject.note else ""
    notes += f"<p>{_code(subject.seen)}</p>" if subject and subject.seen else ""
    return (
        f'<section class="executor" id="{entry.executor}" data-executor="{entry.executor}">'
        f"<h3>{escape(title(entry))}</h3>"
        f"<p>{escape(version(entry))}, {_python(entry)}: {_verdict(entry)}. Capabilities: "
        f"{', '.join(f'<code>{name}</code>' for name in entry.capabilities) or 'none'}.</p>{notes}"
        f"{''.join(_details(entry, shown))}"
        f"{''.join(_details(adapted, shown)) if adapted else ''}{_history(group)}</section>\n"
    )


def _details(entry: Entry, shown: Mapping[tuple[str, str], str]) -> Iterator[str]:
    if entry.adapted:
        subject = SUBJECTS.get(entry.executor)
        note = f" {_code(subject.adapted_note)}." if subject and subject.adapted_note else ""
        yield f"<p>Through <code>adapt</code>: {_verdict(entry)}.{note}</p>"
    form = " through <code>adapt</code>" if entry.adapted else ""
    if must := entry.broken("MUST"):
        rows = "".join(_broken_row(entry, rule, shown) for rule in must)
        yield (
            f"<details><summary>{len(must)} broken MUST{form}</summary>"
            f'<div class="scroll"><table><tbody>{rows}</tbody></table></div></details>'
        )
    for what, rules in (("broken SHOULD", entry.broken("SHOULD")), ("known failures", entry.expected())):
        if rules:
            names = "".join(
                f"<li><code>{rule['id']}</code> {_code(rule['statement'])} <small>{escape(rule['message'])}</small>"
                for rule in rules
            )
            yield f"<details><summary>{len(rules)} {what}{form}</summary><ul>{names}</ul></details>"


def _broken_row(entry: Entry, rule: Report, shown: Mapping[tuple[str, str], str]) -> str:
    script = shown.get((entry.executor, rule["id"]))
    link = f' <a href="{SOURCE}/reproductions/{script}">by hand</a>' if script and not entry.adapted else ""
    return (
        f'<tr><td class="rule"><code>{rule["id"]}</code><div class="says">{_code(rule["statement"])}</div></td>'
        f'<td><span class="outcome {rule["outcome"]}">{rule["outcome"]}</span>{link}'
        f'<div class="message">{escape(rule["message"])}</div></td></tr>'
    )


def _history(group: Sequence[Entry]) -> str:
    if len(group) < 2:
        return ""
    rows = "".join(
        f"<tr><td>{escape(entry.version)}</td><td>{entry.python.removeprefix('py')}</td>"
        f"<td>{'adapted' if entry.adapted else 'bare'}</td><td>{entry.report['contract']['version']}</td>"
        f'<td>{entry.report["date"][:10]}</td><td><a href="{SOURCE}/results/{entry.path}">{_verdict(entry)}</a></td>'
        f'<td class="number">{len(entry.broken("MUST"))}</td><td class="number">{len(entry.broken("SHOULD"))}</td>'
        f'<td class="number">{entry.kept}</td></tr>'
        for entry in group
    )
    told = "".join(f"<li>{_code(line)}" for line in differences(group))
    return (
        f"<details><summary>History: {len(group)} reports</summary>"
        '<div class="scroll"><table><thead><tr><th>version<th>Python<th>form<th>contract<th>date<th>verdict'
        '<th class="number">MUST broken<th class="number">SHOULD broken<th class="number">kept</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f"{f'<ul>{told}</ul>' if told else ''}</details>"
    )


def _python(entry: Entry) -> str:
    return f"Python {entry.python.removeprefix('py')}"


def _code(text: str) -> str:
    """Return a text with what stands in backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
