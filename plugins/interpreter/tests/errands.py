"""What the tests have interpreters do. Imported in each of them: imports little, and nothing of the tests."""

from __future__ import annotations

import os
import sys

state = "untouched"


def echo(item=None):
    return item


def fail(kind, *args):
    raise kind(*args)


def touch(value):
    global state
    state = value
    return state


def read_state():
    return state


def interpreter_number():
    import _interpreters

    return _interpreters.get_current()[0]


def write_into(view, index, value):
    view[index] = value


def speak(descriptor, text):
    os.write(descriptor, text)


def wait_for(descriptor):
    """Returns the byte that somebody writes."""
    return os.read(descriptor, 1)


def raise_local():
    class Local(Exception):
        pass

    raise Local("made in the call")


class Stubborn(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def raise_stubborn():
    raise Stubborn("one", "two")


class Unloadable:
    def __reduce__(self):
        return fail, (RuntimeError, "not to be unpickled")


class Undumpable:
    def __reduce__(self):
        raise ValueError("not to be pickled")


def make(kind):
    return kind()


def redirect_output():
    import io

    sys.stdout = io.StringIO()
    return type(sys.stdout).__name__


def leave_thread(descriptor):
    import threading

    threading.Thread(target=wait_for, args=(descriptor,)).start()


def leave_child():
    import subprocess

    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE).pid
