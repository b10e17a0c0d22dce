"""Selecting rules by an expression, as `pytest -k` does: words, `and`, `or`, `not`, parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(r"\s*(?:([()])|([\w.\-]+))")


def matcher(expression: str) -> Callable[[str], bool]:
    """Return a predicate on rule ids: a word is true when the id contains it.

    Raises:
        ValueError: when the expression can't be read.
    """
    words: list[str] = []
    parts: list[str] = []
    position = 0
    text = expression.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"cannot read the expression {expression!r} at {text[position:]!r}")
        position = found.end()
        bracket, word = found.groups()
        if bracket or word in ("and", "or", "not"):
            parts.append(bracket or word)
        else:
            parts.append(f"there[{len(words)}]")
            words.append(word.lower())
    try:
        code = compile(" ".join(parts), "-k", "eval")
    except SyntaxError:
        raise ValueError(f"cannot read the expression {expression!r}") from None

    def matches(rule_id: str) -> bool:
        there = [word in rule_id.lower() for word in words]
        return bool(eval(code, {"__builtins__": {}, "there": there}))

    return matches
