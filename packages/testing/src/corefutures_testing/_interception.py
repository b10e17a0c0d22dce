"""Tells what a program does with its executors: those that it makes, their calls, their ends.

Touches `concurrent.futures.Executor` and the classes derived from it, once a tool asks to be told. Guarantees: a call
that one executor passes on to another one is told once.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Executor, Future
from typing import Any


class Listener:
    """What is told; a tool overrides what it needs."""

    def executor_made(self, executor: Executor) -> None:
        """Note that an executor is being made by this thread."""

    def executor_shut_down(self, executor: Executor) -> None:
        """Note that `shutdown` was called."""

    def change_call(self, executor: Executor, function: Any) -> Any:
        """Return what an executor is to call in place of a function."""
        return function

    def call_submitted(self, executor: Executor, future: Future[Any]) -> None:
        """Note that this thread has submitted a call."""


_listeners: list[Listener] = []
_wrapped: set[tuple[type, str]] = set()
_here = threading.local()  # `depth`: how many `submit`s this thread is in


def listen(listener: Listener) -> None:
    """Have a listener told from now on."""
    if not _wrapped:
        _wrap_classes()
    _listeners.append(listener)


def stop_listening(listener: Listener) -> None:
    """Undo `listen`."""
    _listeners.remove(listener)


def _wrap_classes() -> None:
    def make(cls: type[Executor], /, *args: Any, **kwargs: Any) -> Executor:
        following: Any = super(Executor, cls).__new__
        executor: Executor = following(cls) if following is object.__new__ else following(cls, *args, **kwargs)
        _wrap(cls, "submit", _submit)
        _wrap(cls, "shutdown", _shutdown)
        for listener in _listeners:
            listener.executor_made(executor)
        return executor

    _wrapped.add((Executor, "__new__"))
    Executor.__new__ = make  # type: ignore[method-assign, assignment]


def _wrap(cls: type, name: str, wrapper: Any) -> None:
    """Wrap a method in each class of the hierarchy that defines it, but for the abstract one."""
    for owner in cls.__mro__:
        if name in vars(owner) and owner is not Executor and (owner, name) not in _wrapped:
            _wrapped.add((owner, name))
            setattr(owner, name, _wrapping(vars(owner)[name], wrapper))


def _wrapping(method: Any, wrapper: Any) -> Any:
    @functools.wraps(method)
    def wrapped(self: Executor, /, *args: Any, **kwargs: Any) -> Any:
        return wrapper(self, method, *args, **kwargs)

    return wrapped


def _submit(executor: Executor, method: Any, /, *args: Any, **kwargs: Any) -> Any:
    depth = getattr(_here, "depth", 0)
    if depth or not args or not callable(args[0]):
        return method(executor, *args, **kwargs)
    _here.depth = 1
    try:
        function = args[0]
        for listener in _listeners:
            function = listener.change_call(executor, function)
        future = method(executor, function, *args[1:], **kwargs)
    finally:
        _here.depth = 0
    for listener in _listeners:
        listener.call_submitted(executor, future)
    return future


def _shutdown(executor: Executor, method: Any, /, *args: Any, **kwargs: Any) -> Any:
    for listener in _listeners:
        listener.executor_shut_down(executor)
    return method(executor, *args, **kwargs)
