"""Exceptions on their way to another interpreter: the original, with a summary as its cause.

Used on both sides; `rebuild` in the pool's interpreter only. Guarantees: an exception that can't be pickled or
unpickled arrives as its summary; a note names what this interpreter could not load, from the first time on.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_pools.workers.messages import ERROR
from corefutures_pools.workers.worker_loop import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from corefutures_pools.workers.serialization import Encoder

#: Texts in the errors of extension modules that can't be loaded in a second interpreter: of CPython, PyO3; of modules
#: that look for it themselves, such as NumPy's; of Cython; of PyO3 again.
_REFUSAL_TEXTS = (
    "subinterpreter", "sub-interpreter", "more than once per process", "one interpreter per process",
    "once per interpreter process",
)  # fmt: skip

#: The types of errors that a library raises which goes on without what it needs.
_CONSEQUENCES = ImportError, NameError, AttributeError

#: The one module of the standard library that is refused and has the same in Python: `traceback` tries it for errors.
_REPLACEABLE = "_suggestions"

_INSTEAD = 'The process backend can run this call: corefutures.create_executor("process").'
_ADVICE = f"This module, or one that it needs, can't be loaded in an interpreter of its own. {_INSTEAD}"

#: The extension modules that this interpreter could not load for that reason, in their order; none is taken out.
_refused: dict[str, None] = {}


class FailureReporter(Reporter):
    """Encodes outcomes of calls; exceptions with the summary that `rebuild` needs."""

    def __init__(self, encode: Encoder) -> None:
        self.encode = encode

    def error(self, error: BaseException) -> tuple[int, bytes]:
        """Return ERROR, and a body with the exception and its summary."""
        try:
            try:
                _annotate(error)
                summary = _summary(error)
            except Exception as exc:
                summary = _undescribed(error, exc)
            try:
                pickled = self._dumps(error)
            except Exception:  # the summary is sent alone
                pickled = None
            return ERROR, _packed(summary, pickled)
        except BaseException as exc:
            try:
                return ERROR, _packed(_undescribed(error, exc), None)
            except BaseException:
                return ERROR, b""  # `rebuild` makes a MemoryError of it


def _packed(summary: tuple[str, str, str, str, str], pickled: bytes | None) -> bytes:
    from pickle import dumps  # only calls that fail need it

    return dumps((summary, pickled))


def _undescribed(error: BaseException, reason: BaseException) -> tuple[str, str, str, str, str]:
    """Return the summary of an exception whose description failed."""
    from corefutures_pools.foreign_code import class_name  # only calls that fail need it

    name = class_name(error)
    return name, name, "builtins", f"<it can't be described: {class_name(reason)}>", ""


def record_refusals() -> None:
    """Record which extension modules this interpreter can't load: some libraries suppress the error, and fail later."""
    import _imp

    def recording(load: Callable[..., Any]) -> Callable[..., Any]:
        def loads(module: Any, *rest: Any) -> Any:  # a specification, or the module that was made of one
            try:
                return load(module, *rest)
            except ImportError as exc:
                name = str(getattr(module, "name", None) or module.__name__)
                if is_refusal(exc) and name != _REPLACEABLE:
                    if not _refused:
                        from corefutures_pools.tracebacks import annotators  # hardly any worker needs it

                        annotators.append(_annotate)
                    _refused[name] = None
                raise

        return loads

    for name in ("create_builtin", "create_dynamic", "exec_dynamic"):
        setattr(_imp, name, recording(getattr(_imp, name)))


def is_refusal(error: BaseException) -> bool:
    """Return whether an extension module raised this because it can't be loaded in an interpreter of its own."""
    return isinstance(error, ImportError) and any(refusal in str(error) for refusal in _REFUSAL_TEXTS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those behind it."""
    chain: BaseException | None = error
    seen = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        yield chain
        chain = chain.__cause__ or chain.__context__


def refusal_text(error: BaseException) -> str:
    """Return the text of the refusal of an extension module that is behind an error; nothing if there is none."""
    return next((str(part) for part in _chain(error) if is_refusal(part)), "")


def refusal_behind(error: BaseException) -> str:
    """Return which refusal is, or may be, the reason of an error; nothing if none can be."""
    text = refusal_text(error)
    if not text and _refused and any(isinstance(part, _CONSEQUENCES) for part in _chain(error)):
        return f"this interpreter could not load {', '.join(_refused)}"
    return text


def _annotate(error: BaseException) -> None:
    """Add a note that names what this interpreter could not load, if there is anything, and says what can."""
    note = _note(error)
    if note:
        from corefutures_pools.foreign_code import add_note  # hardly any call needs it

        add_note(error, note)


def _note(error: BaseException) -> str:
    """Return a note for an error in this interpreter; nothing if all extension modules could be loaded so far."""
    if isinstance(error, ImportError) and refusal_text(error):
        return _ADVICE
    if not _refused:
        return ""
    names = ", ".join(_refused)
    if any(isinstance(part, _CONSEQUENCES) for part in _chain(error)):
        return f"This may come of what couldn't be loaded in this interpreter: {names}. {_INSTEAD}"
    return f"This interpreter could not load {names}, and goes on without. {_INSTEAD}"


def _summary(error: BaseException) -> tuple[str, str, str, str, str]:
    """Return the names of an exception's class, its message, and its traceback as text."""
    from corefutures_pools.foreign_code import class_name  # only calls that fail need it, as the next one
    from corefutures_pools.tracebacks import traceback_text

    kind = type(error)
    try:
        message = str(str(error))
    except BaseException as exc:
        message = f"<its message can't be had: {class_name(exc)}>"
    return str(kind.__name__), str(kind.__qualname__), str(kind.__module__), message, traceback_text(error)


def failure_in_chunk(traceback: str) -> Exception:
    """Return the summary of an exception that an item of a chunk raised, from its traceback as text."""
    from concurrent.interpreters import ExecutionFailed
    from types import SimpleNamespace

    text = traceback.strip('"\n')
    last = text.rpartition("\n")[2]
    name, _, message = last.partition(": ")
    kind = SimpleNamespace(__name__=name.rpartition(".")[2], __qualname__=name, __module__="")
    return ExecutionFailed(SimpleNamespace(type=kind, msg=message, formatted=last, errdisplay=text))


def _text(error: BaseException) -> str:
    from corefutures_pools.foreign_code import class_name  # for the pool's interpreter, as below

    try:
        return str(error)
    except BaseException as exc:
        return f"{class_name(error)}, which can't be described: {class_name(exc)}"


def rebuild(body: Any, decode: Callable[[Any], Any]) -> BaseException:
    """Return the exception that a worker reported, caused by its summary; or the summary if decoding it fails."""
    import pickle
    from concurrent.interpreters import ExecutionFailed
    from types import SimpleNamespace

    from corefutures_pools.foreign_code import class_name, set_cause

    if not body:  # there was no memory for more
        body = _packed(("MemoryError", "MemoryError", "builtins", "", ""), pickle.dumps(MemoryError()))
    (name, qualname, module, message, traceback), pickled = pickle.loads(body)
    kind = SimpleNamespace(__name__=name, __qualname__=qualname, __module__=module)
    shown = qualname if module in ("builtins", "__main__", "__mp_main__") else f"{module}.{qualname}"
    formatted = f"{shown}: {message}" if message else shown
    summary = ExecutionFailed(
        SimpleNamespace(type=kind, msg=message, formatted=formatted, errdisplay=traceback.rstrip("\n"))
    )
    if pickled is None:
        summary.add_note("the exception itself could not be pickled")
        return summary
    try:
        error = decode(pickled)
    except BaseException as exc:
        summary.add_note(f"the exception itself could not be unpickled: {_text(exc)}")
        return summary
    if not isinstance(error, BaseException):
        summary.add_note(f"unpickling the exception itself gave a {class_name(error)}")
        return summary
    set_cause(error, summary)
    return error
