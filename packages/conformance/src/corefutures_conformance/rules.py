"""A rule: a test method whose docstring is the demand; this module reads it and holds the marks of rules.

The docstring's first paragraph is one sentence with exactly one of MUST, SHOULD, MAY, and ends with the
place it comes from in parentheses: `(manual: Future.cancel)`, `(PEP 3148)`, `(promise E3)`. Imports no pytest.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Level = Literal["MUST", "SHOULD", "MAY"]
F = TypeVar("F", bound=Callable[..., object])

_LEVEL = re.compile(r"\b(MUST|SHOULD|MAY)\b")
_SOURCE = re.compile(
    r"\((manual(?:: [^()]+(?:\(\))?[^()]*)?|PEP 3148(?:: [^()]+)?|promise [A-Z]\d+(?:, [A-Z]\d+)*)\)\.?$"
)


@dataclass(frozen=True)
class Requirement:
    """What must hold for a rule to apply."""

    capabilities: Mapping[str, bool]
    reasons: tuple[str, ...] = ()
    """Why the rule cannot apply on this Python or platform; empty when it can."""


@dataclass(frozen=True)
class Rule:
    """One demand on an executor."""

    id: str
    chapter: str
    method: str
    statement: str
    written_level: Level
    source: str
    requirement: Requirement
    patience: float
    """By how much the rule's deadline is longer than usual."""
    place: str = ""
    """Where it is written: file and line."""

    def level(self, *, contract: bool) -> Level:
        """Return the level for a target.

        Args:
            contract: whether its backend declares the current contract: then promises beyond the manual are owed.
        """
        return (
            "MUST"
            if contract and self.source.startswith("promise") and self.written_level == "SHOULD"
            else self.written_level
        )

    def inapplicable(self, capabilities: Mapping[str, bool]) -> str | None:
        """Why the rule does not apply to a target with these capabilities, or None."""
        for name, wanted in self.requirement.capabilities.items():
            if capabilities.get(name, False) is not wanted:
                return f"the rule is for executors {'with' if wanted else 'without'} the capability {name!r}"
        return self.requirement.reasons[0] if self.requirement.reasons else None


class RuleError(TypeError):
    """A rule is written wrongly, or a class uses the rules wrongly."""


def read_rule(function: Callable[..., object], chapter: str) -> Rule:
    """Read the rule that a test method states.

    Raises:
        RuleError: when its docstring does not have exactly one level and a source.
    """
    name = function.__name__
    statement = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    levels = _LEVEL.findall(statement)
    source = _SOURCE.search(statement)
    rule_id = f"{chapter}.{name.removeprefix('test_')}"
    if len(levels) != 1:
        raise RuleError(f"rule {rule_id}: the docstring must have exactly one of MUST, SHOULD, MAY; it has {levels}")
    if source is None:
        raise RuleError(f"rule {rule_id}: the docstring must end with its source, such as '(manual: Future.cancel)'")
    if source[1].startswith("promise") and levels[0] == "MUST":
        raise RuleError(f"rule {rule_id}: a promise beyond the manual is SHOULD; MUST comes from the manual or the PEP")
    code = getattr(inspect.unwrap(function), "__code__", None)
    requirement = Requirement(
        getattr(function, "__required_capabilities__", {}),
        tuple(getattr(function, "__reasons_against__", ())),
    )
    return Rule(
        id=rule_id,
        chapter=chapter,
        method=name,
        statement=statement[: source.start()].strip(),
        written_level=levels[0],
        source=source[1],
        requirement=requirement,
        patience=getattr(function, "__patience__", 1.0),
        place=f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "",
    )


def rules_of(chapters: Iterable[type]) -> dict[str, Rule]:
    """Return the rules of `chapters`, by method name, in the order written.

    Raises:
        RuleError: when a rule is written wrongly, or two chapters have a name in common: all are composed into one
            class, in which one chapter would use what is another's.
    """
    found: dict[str, Rule] = {}
    owners: dict[str, type] = {}
    for chapter in chapters:
        for name, value in vars(chapter).items():
            if name.startswith("__"):
                continue
            owner = owners.setdefault(name, chapter)
            if owner is not chapter:
                what = "rules" if name.startswith("test_") else "things"
                raise RuleError(f"two {what} are called {name}: in {owner.__module__} and {chapter.__module__}")
            if name.startswith("test_"):
                found[name] = read_rule(value, chapter.__module__.rpartition(".")[2])
    return found


def requires(*names: str, **capabilities: bool) -> Callable[[F], F]:
    """Mark a rule: it applies to targets with these capabilities only.

    `@requires("pickles")`, `@requires(same_process=False)`. Write the negative rule beside it: what a
    target without the capability does instead.
    """

    def mark(function: F) -> F:
        wanted: dict[str, bool] = getattr(function, "__required_capabilities__", {})
        _set(function, "__required_capabilities__", {**wanted, **dict.fromkeys(names, True), **capabilities})
        return function

    return mark


def only_where(condition: bool, reason: str) -> Callable[[F], F]:
    """Mark a rule: it applies only where `condition` holds; `reason` names the platform or version it needs."""

    def mark(function: F) -> F:
        if not condition:
            _set(function, "__reasons_against__", (*getattr(function, "__reasons_against__", ()), reason))
        return function

    return mark


def from_python(major: int, minor: int) -> Callable[[F], F]:
    """Mark a rule: it applies from this version of Python on."""
    return only_where(sys.version_info >= (major, minor), f"the rule is for Python {major}.{minor} and later")


def patient(factor: float) -> Callable[[F], F]:
    """Mark a rule that does much, or hangs where it is broken: its deadline is `factor` times the usual one."""

    def mark(function: F) -> F:
        _set(function, "__patience__", factor)
        return function

    return mark


def _set(function: Any, name: str, value: object) -> None:
    setattr(function, name, value)
