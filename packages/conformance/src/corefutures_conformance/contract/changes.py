"""The differences between two versions of the contract, and what they mean for a target with a stored report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corefutures_conformance.contract.versions import ContractVersion, VersionedRule


@dataclass(frozen=True)
class Changes:
    """The rules in which two versions of the contract differ.

    Attributes:
        old: The version before.
        new: The version after.
    """

    old: ContractVersion
    new: ContractVersion

    @property
    def added(self) -> list[VersionedRule]:
        """The rules that only the new version has."""
        return [rule for name, rule in self.new.rules.items() if name not in self.old.rules]

    @property
    def removed(self) -> list[VersionedRule]:
        """The rules that only the old version has."""
        return [rule for name, rule in self.old.rules.items() if name not in self.new.rules]

    @property
    def changed(self) -> list[tuple[VersionedRule, VersionedRule]]:
        """The rules that both versions have, with a difference: in the old form and in the new one."""
        both = [(rule, self.new.rules[name]) for name, rule in self.old.rules.items() if name in self.new.rules]
        return [(before, after) for before, after in both if before != after]

    def lines(self) -> list[str]:
        """Return the differences, one in a line."""
        lines = [f"contract {self.old.version}: {len(self.old.rules)} rules, {self.old.digest}"]
        lines.append(f"contract {self.new.version}: {len(self.new.rules)} rules, {self.new.digest}")
        lines += [f"added    {rule.id} ({rule.level}, {rule.source}): {rule.statement}" for rule in self.added]
        lines += [f"removed  {rule.id} ({rule.level}, {rule.source})" for rule in self.removed]
        for before, after in self.changed:
            lines.append(f"changed  {before.id}: {before.level}: {before.statement}")
            lines.append(f"         now: {after.level}: {after.statement}")
        return lines

    def consequences(self, report: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return what the new version means for the target of a stored report.

        Args:
            report: One target's report, as stored.

        Returns:
            The rules that would make the target nonconformant for certain, and the rules that must be run to know.
        """
        declares = report["contract"]["declared"] is not None
        outcomes = {rule["id"]: rule["outcome"] for rule in report["rules"]}
        certain, unknown = [], []
        for rule in self.new.rules.values():
            decides = rule.level == "MUST" or (declares and rule.source.startswith("promise"))
            before = self.old.rules.get(rule.id)
            if not decides or rule == before or rule.inapplicable(report["capabilities"]):
                continue
            if before is None or before.statement != rule.statement or rule.id not in outcomes:
                unknown.append(rule.id)
            elif outcomes[rule.id] in ("failed", "overdue"):
                certain.append(rule.id)
        return certain, unknown
