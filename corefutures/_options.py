"""Checks of arguments: each refusal is one sentence with the value, the reason and, where there is one, the remedy.

Imports nothing. A function checks its arguments at once, so that the error is raised where the argument was written.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from typing import Any


def shown(value: object) -> str:
    """Return how a message shows a value: its repr, if there is one that is short enough."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_count(option: str, value: Any, *, optional: bool = True, least: int = 1) -> None:
    """Check a count.

    Args:
        option: The name of the option.
        value: The value.
        optional: Whether None is allowed.
        least: The smallest number that makes sense.

    Raises:
        TypeError: It is no int.
        ValueError: It is too small.
    """
    if type(value) is not int:
        if value is None and optional:
            return
        if isinstance(value, bool) or not hasattr(type(value), "__index__"):
            remedy = ""
            if isinstance(value, (str, float)) and not isinstance(value, bool):
                try:
                    whole = int(value)
                    remedy = f": write {option}={whole}" if whole == float(value) else ""
                except (ValueError, OverflowError):
                    pass
            raise TypeError(f"{option} must be an integer{' or None' * optional}, not {shown(value)}{remedy}")
    if value is not None and value < least:
        bound = "greater than 0" if least == 1 else f"{least} or more"
        raise ValueError(f"{option} must be {bound}, not {shown(value)}")


def check_seconds(
    option: str, value: Any, *, optional: bool = True, least: float | None = None, positive: bool = False
) -> None:
    """Check a number of seconds.

    Args:
        option: The name of the option.
        value: The value.
        optional: Whether None is allowed, which sets no limit.
        least: The smallest number that makes sense; None for any.
        positive: Whether it must be greater than 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is too small, or not a number (NaN).
    """
    if value is None and optional:
        return
    or_none, no_limit = (" or None", "; None sets no limit") if optional else ("", "")
    if isinstance(value, bool) or not (hasattr(type(value), "__float__") or hasattr(type(value), "__index__")):
        remedy = ""
        if isinstance(value, str):
            try:
                remedy = f": write {option}={float(value):g}"
            except ValueError:
                pass
        raise TypeError(f"{option} must be a number of seconds{or_none}, not {shown(value)}{remedy}")
    if value != value:
        raise ValueError(f"{option} must be a number of seconds{or_none}, not {shown(value)}")
    if value is None:
        return
    if positive and not value > 0:
        raise ValueError(f"{option} must be greater than 0 seconds, not {shown(value)}{no_limit}")
    if least is not None and value < least:
        raise ValueError(f"{option} must be {least:g} or more seconds, not {shown(value)}{no_limit}")


def check_flag(option: str, value: Any) -> None:
    """Raise TypeError unless `value` is True, False, or a number that stands for one of them."""
    if type(value).__name__ not in ("bool", "bool_") and not (type(value) is int and value in (0, 1)):
        raise TypeError(f"{option} must be True or False, not {shown(value)}")


def check_text(option: str, value: Any) -> None:
    """Raise TypeError if `value` is no str."""
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a str, not {shown(value)}")


def check_choice(option: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError if `value` is none of the `choices` for `option`."""
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{option} must be {', '.join(others)} or {last}, not {shown(value)}")


def not_callable(verb: str, fn: object) -> TypeError:
    """Return the error of a function that takes a function, and got something else."""
    return TypeError(
        f"{verb}() takes a callable, not {shown(fn)}: pass the function itself and its arguments after it, not what a"
        " call of it returned"
    )
