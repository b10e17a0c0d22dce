"""A target: what is certified, a backend's name or `package.module:attr`, with options for its factory."""

from __future__ import annotations

import base64
import os
import pickle
import pkgutil
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corefutures.backend import Backend


class TargetError(ValueError):
    """The target does not exist, is not available, or is not what makes executors."""


_AIM = "COREFUTURES_CONFORMANCE_TARGET"
"""The environment variable that says the target, so that programs which a rule starts know it too."""


def set_target(text: str) -> None:
    """Say which target the rules of `named_target` are run on: what `Target.to_text` gave."""
    os.environ[_AIM] = text


def current_target() -> Target:
    """Return the target that was set last."""
    return Target.from_text(os.environ[_AIM])


@dataclass(frozen=True)
class Target:
    """What is certified.

    Attributes:
        name: A backend's name, or the place of a class or callable that takes `max_workers`.
        options: What it takes besides; picklable.

    Raises:
        TargetError: `max_workers` is among the options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "max_workers" in self.options:
            raise TargetError("each rule says itself how many calls its executors run at once; leave 'max_workers' out")

    def to_text(self) -> str:
        """Return the target as text, for another process."""
        return base64.b85encode(pickle.dumps((self.name, dict(self.options)))).decode()

    @classmethod
    def from_text(cls, text: str) -> Target:
        """Return the inverse of `to_text`."""
        return cls(*pickle.loads(base64.b85decode(text)))

    def make(self, max_workers: int, **options: Any) -> Executor:
        """Make an executor; what the rule asks for goes before the target's own options."""
        executor: Executor = self.factory()(max_workers=max_workers, **{**self.options, **options})
        return executor

    def backend(self) -> Backend | None:
        """Return the target's backend; None for `package.module:attr`.

        Raises:
            TargetError: When there is no such backend, or it is not available here.
        """
        if ":" in self.name:
            return None
        from corefutures import get_backend  # here and below: what runs targets by their place needs no registry

        try:
            return get_backend(self.name)
        except (RuntimeError, ValueError) as error:
            raise TargetError(str(error)) from error

    def factory(self) -> Callable[..., Any]:
        """Return what makes the executors.

        Raises:
            TargetError: When there is no such thing.
        """
        if ":" not in self.name:
            from corefutures import create_executor

            self.backend()
            return partial(create_executor, self.name)
        try:
            found = pkgutil.resolve_name(self.name)
        except Exception as error:  # an import may raise anything
            from corefutures.backend import describe_error

            raise TargetError(f"cannot load the target {self.name!r}: {describe_error(error)}") from error
        if not callable(found):
            raise TargetError(f"the target {self.name!r} is a {type(found).__name__}, which is not callable")
        return found  # type: ignore[no-any-return]

    def expected_failures(self) -> dict[str, str]:
        """Return what the factory says of itself in an attribute `expected_failures`: rule id → reason.

        Raises:
            TargetError: When it names what is no rule, or gives no reason.
        """
        from corefutures_conformance.executor_tests import RULES  # here: what runs targets needs no rules

        backend = self.backend()
        factory: object = self.factory() if backend is None else backend.factory
        if isinstance(factory, str):
            try:
                factory = pkgutil.resolve_name(factory)
            except Exception:  # an import may raise anything; the first call says so
                return {}
        declared = dict(getattr(factory, "expected_failures", {}))
        known = {rule.id for rule in RULES.values()}
        for rule, reason in declared.items():
            if rule not in known:
                raise TargetError(f"expected_failures of the target {self.name!r} names {rule!r}, which is no rule")
            if not isinstance(reason, str) or not reason:
                raise TargetError(
                    f"expected_failures[{rule!r}] of the target {self.name!r} must be the reason, in words"
                )
        return declared

    def distribution(self) -> str:
        """Return the distribution and version that the target comes from; empty if it was not installed."""
        if ":" in self.name:
            module = str(getattr(self.factory(), "__module__", None) or self.name.partition(":")[0])
            owners = metadata.packages_distributions().get(module.partition(".")[0], [])
            return f"{owners[0]} {metadata.version(owners[0])}" if owners else ""
        from corefutures import backends

        status = backends()[self.name]
        return f"{status.distribution} {status.version}" if status.distribution else ""

    def settings(self) -> str:
        """Return the options in words."""
        shown = {}
        for key, value in self.options.items():
            name = getattr(value, "get_start_method", None)  # a start method's context has no telling repr
            shown[key] = name() if callable(name) else repr(value)
        return ", ".join(f"{key}={value}" for key, value in shown.items())
