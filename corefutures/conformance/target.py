"""A target: what is certified, from a backend's name or `package.module:attr`, with options for its factory."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any


class TargetError(ValueError):
    """The target does not exist, is not available, or is not what makes executors."""


@dataclass(frozen=True)
class Target:
    """What is certified."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The inverse of `to_json`."""
        return cls(data["name"], dict(data["options"]))

    def to_json(self) -> dict[str, Any]:
        """The target as plain data."""
        return {"name": self.name, "options": dict(self.options)}

    def make(self, max_workers: int, **options: Any) -> Executor:
        """Make an executor; options of the target give way to those of the call."""
        executor: Executor = self._factory()(max_workers=max_workers, **{**self._converted(), **options})
        return executor

    def backend(self) -> Any:
        """The target's `Backend`, or None for `package.module:attr`.

        Raises:
            TargetError: when there is no such backend, or it is not available here.
        """
        if ":" in self.name:
            return None
        from corefutures import get_backend

        try:
            return get_backend(self.name)
        except (RuntimeError, LookupError) as error:
            raise TargetError(str(error)) from error

    def check(self) -> None:
        """Find what makes the executors.

        Raises:
            TargetError: when there is nothing.
        """
        self.backend()
        self._factory()

    def distribution(self) -> str:
        """Distribution and version that the target comes from, as far as known."""
        from importlib import metadata

        module = (
            getattr(self._factory(), "__module__", "") if ":" in self.name else f"corefutures_{self.name}"
        )
        top = module.partition(".")[0]
        for distribution in metadata.packages_distributions().get(top, []):
            return f"{distribution} {metadata.version(distribution)}"
        return ""

    def _factory(self) -> Callable[..., Any]:
        if ":" not in self.name:
            from functools import partial

            from corefutures import create_executor

            return partial(create_executor, self.name)
        module_name, _, attribute = self.name.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise TargetError(f"cannot find the target {self.name!r}: {error}") from error
        if not callable(found):
            raise TargetError(f"the target {self.name!r} is a {type(found).__name__}, which is not callable")
        return found  # type: ignore[no-any-return]

    def _converted(self) -> dict[str, Any]:
        """The options, with a start method's name replaced by its context: a command line can't say more."""
        options = dict(self.options)
        if isinstance(options.get("mp_context"), str):
            import multiprocessing

            options["mp_context"] = multiprocessing.get_context(options["mp_context"])
        return options


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Options from `key=value` texts; a value that is a Python literal is one, everything else is text.

    Raises:
        TargetError: when a text has no `=`.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise TargetError(f"an option is written key=value, not {text!r}")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options
