"""From what became of each rule to the verdict on a target.

A record is what happened; a result is what it means for this target: its level, and whether failing was
expected. Only MUST decides, unless the run is strict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from corefutures_conformance.rules import Level, Rule
from corefutures_conformance.runner import Record

Outcome = Literal["passed", "failed", "overdue", "expected-failure", "not-applicable", "not-run"]
Verdict = Literal["conformant", "conformant-with-exceptions", "nonconformant", "incomplete"]

OUTCOMES: tuple[Outcome, ...] = (
    "passed",
    "failed",
    "overdue",
    "expected-failure",
    "not-applicable",
    "not-run",
)


@dataclass(frozen=True)
class Result:
    """What one rule says about one target."""

    rule: Rule
    level: Level
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0
    details: str = ""
    unexpectedly_passed: bool = False

    @property
    def bad(self) -> bool:
        """Whether the rule was broken, and that was not expected."""
        return self.outcome in ("failed", "overdue")

    def decides(self, *, strict: bool) -> bool:
        """Whether breaking this rule makes the target nonconformant."""
        return self.unexpectedly_passed or self.level == "MUST" or (strict and self.level == "SHOULD")

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
        }


def judge(rule: Rule, record: Record, *, contract: bool, reason: str | None = None) -> Result:
    """Say what a record means.

    Args:
        rule: the rule that was run.
        record: what became of it.
        contract: whether the target declares the current contract.
        reason: why the rule is expected to fail, if it is.
    """
    level = rule.level(contract=contract)
    if reason is not None and record.outcome in ("failed", "overdue"):
        message = f"{reason} [{record.message}]"
        return Result(rule, level, "expected-failure", message, record.seconds, record.details)
    if reason is not None and record.outcome == "passed":
        message = f"expected to fail ({reason}), but passed: take it out of the expected failures"
        return Result(rule, level, "failed", message, record.seconds, unexpectedly_passed=True)
    outcome: Outcome = record.outcome  # type: ignore[assignment]
    return Result(rule, level, outcome, record.message, record.seconds, record.details)


def not_run(rule: Rule, why: str, *, contract: bool) -> Result:
    """Return the result of a rule that was not run."""
    return Result(rule, rule.level(contract=contract), "not-run", why)


def verdict(results: Iterable[Result], *, strict: bool = False) -> Verdict:
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
    """What the header shows: distribution, Python, GIL, platform, options, selection."""
    capabilities: dict[str, bool] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    contract: bool = False
    strict: bool = False
    selection: str = ""
    results: list[Result] = field(default_factory=list)
    gave_up: bool = False
    """Whether too many rules were overdue to run the rest."""
    interrupted: bool = False
    """Whether somebody ended the run before all rules were run."""

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
            "target": self.target,
            "verdict": self.verdict,
            "capabilities": self.capabilities,
            "capability_origins": self.origins,
            "contract": self.contract,
            "strict": self.strict,
            "selection": self.selection,
            "environment": self.environment,
            "rules": [result.to_json() for result in self.results],
        }
