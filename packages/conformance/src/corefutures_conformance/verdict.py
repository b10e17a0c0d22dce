"""From what became of each rule to the verdict on a target.

A record is what happened; a result is what it means for this target: its level, and whether failing was
expected. Only MUST decides, unless the run is strict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final, Literal

from corefutures_conformance.capabilities import Profile
from corefutures_conformance.contract.versions import CURRENT, ContractVersion, contract_version
from corefutures_conformance.rules import Level, Rule
from corefutures_conformance.runner import Record

Outcome = Literal["passed", "failed", "overdue", "expected-failure", "not-applicable", "not-run"]
Verdict = Literal["conformant", "conformant-with-exceptions", "nonconformant", "incomplete"]

SCHEMA_VERSION: Final = 1
"""The version of the report's schema: a field may be added within a version, and none changes its meaning."""

KIT: Final = "corefutures-conformance"
"""The distribution that makes the reports."""

OUTCOMES: tuple[Outcome, ...] = (
    "passed",
    "failed",
    "overdue",
    "expected-failure",
    "not-applicable",
    "not-run",
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The part of a rule's result that a verdict is made from."""

    level: Level
    outcome: Outcome
    unexpectedly_passed: bool = False

    @property
    def bad(self) -> bool:
        """Whether the rule was broken, and that was not expected."""
        return self.outcome in ("failed", "overdue")

    def decides(self, *, strict: bool) -> bool:
        """Whether breaking this rule makes the target nonconformant."""
        return self.unexpectedly_passed or self.level == "MUST" or (strict and self.level == "SHOULD")


@dataclass(frozen=True, kw_only=True)
class Result(Judged):
    """What one rule says about one target."""

    rule: Rule
    message: str = ""
    seconds: float = 0.0
    details: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data, as in the schema."""
        return {
            "id": self.rule.id,
            "level": self.level,
            "outcome": self.outcome,
            "message": self.message,
            "seconds": round(self.seconds, 4),
            "statement": self.rule.statement,
            "source": self.rule.source,
            "details": self.details,
            "unexpectedly_passed": self.unexpectedly_passed,
        }


def judge(rule: Rule, record: Record, *, contract: bool, reason: str | None = None) -> Result:
    """Say what a record means.

    Args:
        rule: the rule that was run.
        record: what became of it.
        contract: whether the target declares the current contract.
        reason: why the rule is expected to fail, if it is.
    """
    outcome: Outcome = record.outcome  # type: ignore[assignment]
    message = record.message
    unexpectedly_passed = reason is not None and outcome == "passed"
    if unexpectedly_passed:
        outcome, message = "failed", f"expected to fail ({reason}), but passed: take it out of the expected failures"
    elif reason is not None and outcome in ("failed", "overdue"):
        outcome, message = "expected-failure", f"{reason} [{message}]"
    return Result(
        rule=rule,
        level=rule.level(contract=contract),
        outcome=outcome,
        message=message,
        seconds=record.seconds,
        details="" if unexpectedly_passed else record.details,
        unexpectedly_passed=unexpectedly_passed,
    )


def not_run(rule: Rule, why: str, *, contract: bool) -> Result:
    """Return the result of a rule that was not run."""
    return Result(rule=rule, level=rule.level(contract=contract), outcome="not-run", message=why)


def verdict(results: Iterable[Judged], *, strict: bool = False) -> Verdict:
    """Return the verdict that `results` amount to."""
    results = list(results)
    if any(result.bad and result.decides(strict=strict) for result in results):
        return "nonconformant"
    if not results or any(result.outcome == "not-run" for result in results):
        return "incomplete"
    if any(result.outcome == "expected-failure" and result.decides(strict=strict) for result in results):
        return "conformant-with-exceptions"
    return "conformant"


@dataclass
class Report:
    """Everything that was found out about one target."""

    target: str
    environment: dict[str, str]
    """What the header shows: distribution, Python, GIL, platform, options."""
    contract: ContractVersion = field(default_factory=lambda: contract_version(CURRENT))
    """The version of the contract that the target is judged by."""
    declared: ContractVersion | None = None
    """The version that the target's backend declares: its promises are owed."""
    profile: Profile = field(default_factory=Profile)
    strict: bool = False
    selection: str = ""
    seed: int | None = None
    date: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the run began."""
    results: list[Result] = field(default_factory=list)
    gave_up: bool = False
    """Whether too many rules were overdue to run the rest."""
    interrupted: bool = False
    """Whether somebody ended the run before all rules were run."""

    @property
    def capabilities(self) -> dict[str, bool]:
        """What the target can do."""
        return self.profile.values

    @property
    def origins(self) -> dict[str, str]:
        """How each capability is known."""
        return self.profile.origins

    def owes(self, rule: Rule) -> bool:
        """Return whether the target has promised a rule by the contract that it declares."""
        return self.declared is not None and rule.id in self.declared.rules

    @property
    def verdict(self) -> Verdict:
        """The verdict."""
        return "nonconformant" if self.gave_up else verdict(self.results, strict=self.strict)

    def count(self, outcome: Outcome) -> int:
        """How many rules had this outcome."""
        return sum(result.outcome == outcome for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as in the schema."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kit": {"distribution": KIT, "version": _version_of_kit()},
            "contract": {
                "version": self.contract.version,
                "digest": self.contract.digest,
                "declared": self.declared.version if self.declared is not None else None,
            },
            "date": self.date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "target": self.target,
            "environment": self.environment,
            "strict": self.strict,
            "selection": self.selection,
            "seed": self.seed,
            "capabilities": self.capabilities,
            "capability_origins": self.origins,
            "capabilities_declared": self.profile.declared,
            "capabilities_probed": self.profile.probed,
            "verdict": self.verdict,
            "gave_up": self.gave_up,
            "interrupted": self.interrupted,
            "rules": [result.to_json() for result in self.results],
        }


def _version_of_kit() -> str:
    try:
        return metadata.version(KIT)
    except metadata.PackageNotFoundError:
        return "not installed"  # it runs from its sources
