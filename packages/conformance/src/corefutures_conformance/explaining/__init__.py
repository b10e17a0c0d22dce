"""Explains a rule: the demand, its source, how it is broken in practice, and the program that shows it.

`mistakes.json` is made from the executors with one defect each that prove the kit, and from the survey.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, Final

from corefutures_conformance import known_failures
from corefutures_conformance.rules import Rule

_MANUAL: Final = "https://docs.python.org/3/library/concurrent.futures.html"
_PEP: Final = "https://peps.python.org/pep-3148/"
_PROMISES: Final = "https://github.com/corefutures/corefutures/blob/main/docs/promises.md"
_ISSUES: Final = "https://github.com/python/cpython/issues/"


def explanation(rule: Rule, program: object, target: str = "TARGET") -> str:
    """Return an explanation of a rule, in several lines.

    Args:
        rule: The rule.
        program: The function that runs it.
        target: The target for the command that runs the rule alone.
    """
    return "\n".join(_lines(rule, program, target)) + "\n"


def _lines(rule: Rule, program: object, target: str) -> Iterator[str]:
    yield f"{rule.id} ({rule.written_level})"
    yield from _wrapped("demands", rule.statement)
    for paragraph in _reasons(program):
        yield from _wrapped("because", paragraph)
    yield from _wrapped("source", f"{rule.source}: {' '.join(links(rule.source))}")
    wanted = [f"{'with' if value else 'without'} {name}" for name, value in rule.requirement.capabilities.items()]
    yield from _wrapped("applies", f"to executors {' and '.join(wanted)}" if wanted else "to every executor")
    found = _mistakes().get(rule.id, {"mistakes": [], "broken_by": {}})
    for mistake in found["mistakes"]:
        said = f" The rule then says: {mistake['seen_as']}" if mistake["seen_as"] else ""
        yield from _wrapped("mistake", f"{mistake['does']}{said}")
    for executor, message in found["broken_by"].items():
        yield from _wrapped("broken by", f"{executor}: {message}")
    for known in known_failures.KNOWN_FAILURES:
        if known.rule == rule.id:
            issues = [f"{_ISSUES}{number}" for number in re.findall(r"gh-(\d+)", known.reason)]
            yield from _wrapped("known", " ".join([f"{', '.join(known.targets)}: {known.reason}", *issues]))
    yield f"{'alone':<10}corefutures conformance {target} -k {rule.id}"
    yield "program"
    yield textwrap.indent(textwrap.dedent(inspect.getsource(program)).rstrip(), "    ")  # type: ignore[arg-type]


def links(source: str) -> list[str]:
    """Return where a rule's source can be read."""
    kind, _, rest = source.partition(" ")
    if kind == "promise":
        return [f"{_PROMISES}#{number.lower()}" for number in rest.split(", ")]
    if source.startswith("PEP"):
        return [_PEP]
    name = re.match(r"[A-Za-z_]+(\.[a-z_]+)?", rest)
    if name is None:
        return [_MANUAL]
    module = "process." if name[0] == "BrokenProcessPool" else ""
    return [f"{_MANUAL}#concurrent.futures.{module}{name[0]}"]


def _reasons(program: object) -> list[str]:
    """Return the paragraphs of a rule's docstring after the demand."""
    return [" ".join(text.split()) for text in (inspect.getdoc(program) or "").split("\n\n")[1:]]


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, 110, initial_indent=f"{title:<10}", subsequent_indent=" " * 10,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


@cache
def _mistakes() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath("mistakes.json").read_text(encoding="utf-8")
    )
    return found
