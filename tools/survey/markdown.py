"""The survey as survey/README.md: a table of all executors, then a section on each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from types import MappingProxyType
from typing import Any

from tools.survey.registry import Entry, changes, newest
from tools.survey.reproductions import without_reproduction
from tools.survey.subjects import NOT_CERTIFIED, SUBJECTS

PREFACE = """\
# How conformant is everybody?

Verdicts of [the conformance kit](../docs/certify.md) on executors that many programs use, and on ours.
`python -m tools.survey` makes this page from the kit's reports in `survey/results`; do not edit it. Rules from the
manual of `concurrent.futures` or from PEP 3148 (MUST) decide the verdict. Rules from
[our own promises](../docs/promises.md) beyond them (SHOULD) are advice for other executors; they are counted here to
show which executors do more than they must.

An executor that was not made as a drop-in replacement is not worse for breaking a rule. The page shows which
differences to expect when one executor takes the place of another, and the column “through `adapt`” which of them
[`adapt`](../docs/migrate.md) removes. **Every broken MUST was reproduced by hand**, without the kit, in a few lines
that anybody can run; the link is beside the rule. One cause may break many rules. After 10 overdue rules the kit gives
up, and the remaining rules are not run.

The same page with filters, by verdict, capability, chapter and text, is part of the site, as `survey.html`;
`python -m tools.survey page --html FILE` writes it.

To add a result, certify your executor with `corefutures conformance … --json report.json`, and run
`python -m tools.survey add NAME report.json`: the report is verified, stored as
`survey/results/NAME/VERSION/pyX.Y.json`, and this page is made anew. `python -m tools.survey run NAME` certifies an
executor of this page in your environment; add `--adapted` for the form through `adapt`.

"""

EARLIER = "Judged by an earlier kit, of 560 rules, and not yet by today's:"


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

    Raises:
        ValueError: When a broken MUST has no reproduction.
    """
    if missing := without_reproduction(found, shown):
        raise ValueError(f"no script in survey/reproductions reproduces these broken rules: {missing}")
    groups = by_executor(found)
    lines = [
        *_overview(groups),
        *_earlier(before, groups),
        *(line for group in groups.values() for line in _section(group, shown)),
    ]
    return PREFACE + "\n".join(lines) + "\n"


def by_executor(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each executor, in the order of the pages: subjects of the survey first."""
    order = list(SUBJECTS)
    ordered = sorted(
        found,
        key=lambda entry: (order.index(entry.executor) if entry.executor in SUBJECTS else len(order), entry.executor),
    )
    return {executor: list(group) for executor, group in groupby(ordered, key=lambda entry: entry.executor)}


def title(entry: Entry) -> str:
    """Return what the pages call an executor."""
    subject = SUBJECTS.get(entry.executor)
    return subject.name if subject else str(entry.report["target"])


def version(entry: Entry) -> str:
    """Return the distribution and version that an entry judges, or the Python."""
    return str(entry.report["environment"].get("distribution") or entry.report["environment"]["python"])


def _overview(groups: Mapping[str, list[Entry]]) -> Iterator[str]:
    yield "| executor | version | verdict | MUST broken | SHOULD broken | rules kept | through `adapt` |"
    yield "|---|---|---|---|---|---|---|"
    for slug, group in groups.items():
        entry, adapted = newest(group), newest(group, adapted=True)
        if entry is None:
            continue
        more = f" (+{len(entry.expected())} known)" if entry.expected() else ""
        yield (
            f"| [{title(entry)}](#{slug}) | {version(entry)} | {entry.report['verdict']} "
            f"| {len(entry.broken('MUST')) or ''} | {len(entry.broken('SHOULD')) or ''}{more} | {entry.kept} "
            f"| {_through_adapt(adapted)} |"
        )
    reports = [entry.report for group in groups.values() for entry in group]
    contracts = ", ".join(sorted({report["contract"]["version"] for report in reports}))
    yield ""
    yield wrapped(
        f"{len(reports)} reports, judged by version {contracts} of the contract, on Linux. The table has the newest "
        "version of each executor on the newest Python. “Known” counts failures that the kit expects, because of a "
        "known issue."
    )
    reasons = "; ".join(f"{name}: {reason}" for name, reason in NOT_CERTIFIED.items())
    yield "\n" + wrapped(f"Looked at, and not certified: {reasons}.")


def _earlier(before: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[Entry]]) -> Iterator[str]:
    if not before:
        return
    yield "\n" + wrapped(EARLIER) + "\n"
    yield "| executor | version | verdict | MUST broken | SHOULD broken | rules kept | through `adapt`, today |"
    yield "|---|---|---|---|---|---|---|"
    for slug, row in before.items():
        adapted = newest(groups.get(slug, ()), adapted=True)
        yield (
            f"| {SUBJECTS[slug].name} | {row['version']} | {row['verdict']} | {row['must'] or ''} "
            f"| {row['should'] or ''} | {row['kept']} | {_through_adapt(adapted)} |"
        )
    for slug in before:
        if (adapted := newest(groups.get(slug, ()), adapted=True)) and adapted.broken("MUST"):
            rules = _names([rule["id"] for rule in adapted.broken("MUST")])
            yield "\n" + wrapped(f"{SUBJECTS[slug].name} still breaks through `adapt`: {rules}.")


def _through_adapt(adapted: Entry | None) -> str:
    if adapted is None:
        return ""
    broken = len(adapted.broken("MUST"))
    return f"{adapted.report['verdict']}{f' ({broken} MUST broken)' if broken else ''}"


def _section(group: Sequence[Entry], shown: Mapping[tuple[str, str], str]) -> Iterator[str]:
    entry = newest(group)
    if entry is None:
        return
    slug, report, subject = entry.executor, entry.report, SUBJECTS.get(entry.executor)
    yield f'\n<a id="{slug}"></a>\n\n## {title(entry)}\n'
    has = ", ".join(f"`{name}`" for name in entry.capabilities) or "none"
    lines = [f"{version(entry)}: **{report['verdict']}**.", f"Capabilities: {has}."]
    if subject and subject.note:
        lines.append(f"How it was made: {subject.note}.")
    if subject and subject.seen:
        lines.append(subject.seen)
    if report["gave_up"]:
        lines.append("The kit gave up after 10 overdue rules.")
    yield wrapped(" ".join(lines))
    if must := entry.broken("MUST"):
        yield "\n| broken rule | what happened | reproduction |\n|---|---|---|"
        for rule in must:
            script = f"[{shown[slug, rule['id']]}](reproductions/{shown[slug, rule['id']]})"
            yield f"| {rule['statement']} `{rule['id']}` | {_cell(rule['message'])} | {script} |"
    yield from _listed("Broken SHOULD", entry.broken("SHOULD"))
    yield from _listed("Known failures", entry.expected())
    if adapted := newest(group, adapted=True):
        yield from _adapted(adapted)
    if len(group) > 1:
        yield from _history(group)


def _adapted(entry: Entry) -> Iterator[str]:
    subject = SUBJECTS.get(entry.executor)
    note = f" {subject.adapted_note}." if subject and subject.adapted_note else ""
    yield "\n" + wrapped(f"**Through `adapt`**, {version(entry)}: **{entry.report['verdict']}**.{note}")
    if must := entry.broken("MUST"):
        yield "\n| rule that stays broken through `adapt` | what happened |\n|---|---|"
        for rule in must:
            yield f"| {rule['statement']} `{rule['id']}` | {_cell(rule['message'])} |"
    yield from _listed("Known failures through `adapt`", entry.expected())


def _history(group: Sequence[Entry]) -> Iterator[str]:
    yield "\n| version | Python | form | contract | date | verdict | MUST broken | SHOULD broken | rules kept |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for entry in group:
        report = entry.report
        yield (
            f"| {entry.version} | {entry.python.removeprefix('py')} | {'adapted' if entry.adapted else 'bare'} "
            f"| {report['contract']['version']} | {report['date'][:10]} | [{report['verdict']}](results/{entry.path}) "
            f"| {len(entry.broken('MUST')) or ''} | {len(entry.broken('SHOULD')) or ''} | {entry.kept} |"
        )
    for line in differences(group):
        yield "\n" + wrapped(line)


def differences(group: Sequence[Entry]) -> Iterator[str]:
    """Yield a sentence on each two entries of one form that follow each other and differ."""
    for adapted in (False, True):
        for old, new in pairwise(entry for entry in group if entry.adapted is adapted):
            mended, worse = changes(old, new)
            parts = []
            if mended:
                parts.append(f"no longer breaks {_names(mended)}")
            if worse:
                parts.append(f"breaks {_names(worse)} in addition")
            if parts:
                form = " through `adapt`" if adapted else ""
                yield f"{new.version} on {_python(new)}{form} {' and '.join(parts)}, compared with {_told(old, new)}."


def _told(old: Entry, new: Entry) -> str:
    return f"Python {_python(old)[7:]}" if old.version == new.version else f"{old.version} on {_python(old)}"


def _python(entry: Entry) -> str:
    return f"Python {entry.python.removeprefix('py')}"


def _listed(what: str, rules: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if rules:
        yield "\n" + wrapped(f"{what}: {_names([rule['id'] for rule in rules])}.")


def _names(rules: Sequence[str]) -> str:
    return ", ".join(f"`{rule}`" for rule in rules)


def _cell(message: str) -> str:
    return message.replace("|", "\\|").replace("<", "&lt;")


def wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 118 characters."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)
