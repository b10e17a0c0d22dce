"""Reports as stored: written in canonical form, read, verified, compared.

The canonical form is JSON with sorted keys, the rules sorted by id: two reports differ where the findings differ, and
in their date, durations and tracebacks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import fastjsonschema

from corefutures_conformance.contract.versions import ContractVersion, UnknownVersion, contract_version
from corefutures_conformance.verdict import Judged, verdict

StoredReport = Mapping[str, Any]
"""The report on one target, as `report.schema.json` describes it."""

_BETTER = ("passed", "not-applicable", "expected-failure", "not-run", "overdue", "failed")
"""The outcomes of a rule, from good to bad."""

_VERDICTS = ("conformant", "conformant-with-exceptions", "incomplete", "nonconformant")
"""The verdicts, from good to bad."""


class ReportError(ValueError):
    """A file is no report of the kit."""


def canonical(reports: Sequence[StoredReport]) -> str:
    """Return one report, or several as one file, in canonical form."""
    ordered = [{**report, "rules": sorted(report["rules"], key=lambda rule: rule["id"])} for report in reports]
    data = ordered[0] if len(ordered) == 1 else {"targets": ordered}
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_reports(file: str | Path) -> list[StoredReport]:
    """Read the report, or the reports, of a file.

    Raises:
        ReportError: The file can't be read, or its content is not as the schema says.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"cannot read the report {file}: {error}") from error
    single: list[Any] = data["targets"] if isinstance(data, dict) and isinstance(data.get("targets"), list) else [data]
    for report in single:
        if isinstance(report, dict) and "schema_version" not in report:
            raise ReportError(f"{file} has no schema_version: no report of this kit, or one of an older kit")
        try:
            _validate()(report)
        except fastjsonschema.JsonSchemaException as error:
            raise ReportError(f"{file} is not as the schema of reports says: {error}") from error
    return single


@cache
def _validate() -> Any:
    text = resources.files(__package__).joinpath("report.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    single = {"$schema": schema["$schema"], "definitions": schema["definitions"], "$ref": "#/definitions/report"}
    return fastjsonschema.compile(single)


def problems(report: StoredReport, contract_of: Callable[[str], ContractVersion] = contract_version) -> list[str]:
    """Return why a report can't be relied on, a sentence each; none if it can.

    The version of the contract is known and its digest is right; the report has each rule of that version exactly
    once, with the version's sentence and the level that is due; a rule that was not judged says why; the
    capabilities explain which rules don't apply; the verdict follows from the rules.

    Args:
        report: The report.
        contract_of: Returns the version of the contract with a number; by default that of this kit.
    """
    stated = report["contract"]
    try:
        version = contract_of(stated["version"])
        declared = contract_of(stated["declared"]) if stated["declared"] is not None else None
    except UnknownVersion as error:
        return [str(error)]
    found = []
    if stated["digest"] != version.digest:
        found.append(f"the digest is not that of contract {version.version}: the rules were others")
    if report["selection"]:
        found.append(f"only some rules were selected: {report['selection']}")
    counts = Counter(rule["id"] for rule in report["rules"])
    missing = [name for name in version.rules if name not in counts]
    if missing and not report["selection"]:
        found.append(f"{len(missing)} rules are missing: {_some(missing)}")
    if unknown := [name for name in counts if name not in version.rules]:
        found.append(f"contract {version.version} has no rules {_some(unknown)}")
    if twice := [name for name, count in counts.items() if count > 1]:
        found.append(f"these rules stand more than once: {_some(twice)}")
    for rule in report["rules"]:
        if rule["id"] in version.rules:
            found += _problems_of_rule(rule, report["capabilities"], version, declared)
    due = "nonconformant" if report["gave_up"] else recomputed(report)
    if due != report["verdict"]:
        found.append(f"the verdict that follows from the rules is {due}, not {report['verdict']}")
    return found


def _problems_of_rule(
    rule: Mapping[str, Any],
    capabilities: Mapping[str, bool],
    version: ContractVersion,
    declared: ContractVersion | None,
) -> list[str]:
    name = rule["id"]
    written = version.rules[name]
    owed = declared is not None and name in declared.rules and written.source.startswith("promise")
    level = "MUST" if owed and written.level == "SHOULD" else written.level
    found = []
    if (rule["statement"], rule["source"]) != (written.statement, written.source):
        found.append(f"{name}: sentence or source is not that of contract {version.version}")
    if rule["level"] != level:
        found.append(f"{name}: the level is {level}, not {rule['level']}")
    if rule["outcome"] in ("not-applicable", "not-run", "expected-failure") and not rule["message"].strip():
        found.append(f"{name}: {rule['outcome']} without a reason")
    if written.inapplicable(capabilities) and rule["outcome"] not in ("not-applicable", "not-run"):
        found.append(f"{name}: by the capabilities it does not apply, and its outcome is {rule['outcome']}")
    blames = rule["outcome"] == "not-applicable" and rule["message"].startswith("the rule is for executors with")
    if blames and not written.inapplicable(capabilities):
        found.append(f"{name}: not-applicable for a capability, and by the capabilities it applies")
    return found


def recomputed(report: StoredReport) -> str:
    """Return the verdict that follows from the rules of a report."""
    judged = (
        Judged(level=rule["level"], outcome=rule["outcome"], unexpectedly_passed=rule["unexpectedly_passed"])
        for rule in report["rules"]
    )
    return verdict(judged, strict=report["strict"])


def differences(old: StoredReport, new: StoredReport) -> tuple[list[str], bool]:
    """Return what two reports differ in, one difference in a line, and whether something got worse.

    Dates, durations, messages and tracebacks are not compared.
    """
    facts = ("target", "selection", "strict", "seed", "kit", "contract")
    lines = [f"{name}: {_shown(old[name])} → {_shown(new[name])}" for name in facts if old[name] != new[name]]
    for part in ("environment", "capabilities"):
        for name in sorted({*old[part], *new[part]}):
            before, after = old[part].get(name, "–"), new[part].get(name, "–")
            if before != after:
                lines.append(f"{part}: {name}: {_shown(before)} → {_shown(after)}")
    worse = _VERDICTS.index(new["verdict"]) > _VERDICTS.index(old["verdict"])
    if old["verdict"] != new["verdict"]:
        lines.append(f"verdict: {old['verdict']} → {new['verdict']}")
    before_rules = {rule["id"]: rule for rule in old["rules"]}
    after_rules = {rule["id"]: rule for rule in new["rules"]}
    for name in sorted({*before_rules, *after_rules}):
        before, after = before_rules.get(name), after_rules.get(name)
        if before is None or after is None:
            lines.append(f"rule {name}: only in the {'new' if before is None else 'old'} report")
        elif (before["outcome"], before["level"]) != (after["outcome"], after["level"]):
            lines.append(
                f"rule {name}: {before['level']} {before['outcome']} → {after['level']} {after['outcome']}"
                + (f": {after['message']}" if after["message"] else "")
            )
            broken = after["outcome"] in ("failed", "overdue")
            worse |= broken and _BETTER.index(after["outcome"]) > _BETTER.index(before["outcome"])
    return lines, worse


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return str(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
