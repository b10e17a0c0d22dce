"""Calls that interpreters can't load: the import of an extension module that refuses comes first."""

from __future__ import annotations

import _tracemalloc  # type: ignore[import-not-found, unused-ignore]  # noqa: F401 - refuses to be loaded there
import os

import _interpreters

from corefutures import cancel_requested, held_slots

if _interpreters.get_current()[0]:
    raise AssertionError("an interpreter has loaded this module")


state = "untouched"


def double(number):
    return os.getpid(), number * 2


def fail(kind, *args):
    raise kind(*args)


def count(number):
    yield from range(number)
    return os.getpid()


def kind_of(content):
    return type(content).__name__, len(content), os.getpid()


def form_of(view):
    return view.format, view.shape, view.tolist()


def end_process():
    os._exit(3)


def until_asked(begun):
    """Writes a byte to the pipe of that name, and returns once the call is asked to stop."""
    with open(begun, "w") as pipe:
        pipe.write("x")
    while not cancel_requested():
        os.sched_yield() if hasattr(os, "sched_yield") else None
    return "asked"


def until_read(begun, end):
    """Writes a byte to one named pipe, and returns what comes from the other one."""
    with open(begun, "w") as pipe:
        pipe.write("x")
    with open(end) as pipe:
        return pipe.read()


def set_state(value):
    global state
    state = value


def read_state():
    return state


def slots():
    return held_slots()
