"""`ExecutorTests`: all chapters composed into the class that an author subclasses.

A subclass is checked when it is made: it may not override a rule, and may expect only rules that exist to
fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, ClassVar

from corefutures.backend import Capabilities
from corefutures_conformance.capabilities import Probing
from corefutures_conformance.rules import Rule, RuleError, rules_of
from corefutures_conformance.suite import CHAPTERS

RULES: Mapping[str, Rule] = rules_of(CHAPTERS)
"""Every rule, by the name of its test method."""


class ExecutorTests(*CHAPTERS, Probing):  # type: ignore[misc]
    """Every rule of the contract. Subclass it and say how to make the executor to certify.

        class TestMyExecutor(ExecutorTests):
            def make_executor(self, max_workers, **options):
                return MyExecutor(max_workers, **options)

    Run it with pytest, which finds the kit's plugin. Importing this class collects nothing.
    """

    __test__ = False

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Rule id → why it is known to fail. Strict: one that passes is an error."""

    capabilities: ClassVar[Capabilities | Mapping[str, bool] | None] = None
    """What the executor can do: a `Capabilities`, or a mapping for some of its fields; the rest is probed."""

    declares_contract: ClassVar[bool] = False
    """Whether the promises beyond the manual are owed (SHOULD becomes MUST)."""

    strict: ClassVar[bool] = False
    """Whether a failed SHOULD counts like a failed MUST."""

    deadline: ClassVar[float] = 30.0
    """Seconds that one rule may take."""

    def make_executor(self, max_workers: int, **options: Any) -> Executor:
        """Return a new executor.

        Args:
            max_workers: how many calls it runs at once.
            **options: what the rule asks for besides: `initializer` and `initargs`; raise TypeError if
                unsupported.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_executor(self, max_workers, **options)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the subclass, and let pytest collect it."""
        super().__init_subclass__(**kwargs)
        if "__test__" not in vars(cls):
            cls.__test__ = True
        for name, rule in RULES.items():
            if getattr(cls, name) is not getattr(ExecutorTests, name):
                raise RuleError(
                    f"{cls.__name__} overrides the rule {rule.id}; rules cannot be changed: "
                    f"name it in expected_failures, with the reason"
                )
        known = {rule.id for rule in RULES.values()}
        for rule_id, reason in cls.expected_failures.items():
            if rule_id not in known:
                raise RuleError(f"{cls.__name__}.expected_failures names {rule_id!r}, which is no rule")
            if not reason:
                raise RuleError(f"{cls.__name__}.expected_failures[{rule_id!r}] must be the reason, in words")
