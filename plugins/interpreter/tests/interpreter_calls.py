"""What the tests have interpreters do. Imported in each of them: imports little, and nothing of the tests."""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import tempfile
from array import array

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


def load_or_do_without(name):
    """Returns the error of an import, as a library that has something else in place of a compiled part goes on."""
    try:
        __import__(name)
    except ImportError as error:
        return str(error)
    return ""


def make(kind):
    return kind()


def redirect_output():
    import io

    sys.stdout = io.StringIO()
    return type(sys.stdout).__name__


def leave_thread(descriptor, ended):
    import threading

    def wait_and_report():
        wait_for(descriptor)
        os.write(ended, b"x")

    threading.Thread(target=wait_and_report).start()


def leave_child():
    import subprocess

    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE).pid


class Reduced:
    """Hands out a `PickleBuffer`, and is made again of what arrives."""

    def __init__(self, content):
        self.content = content

    def __reduce_ex__(self, protocol):
        return Reduced, (pickle.PickleBuffer(self.content),)


def buffers(size):
    """Returns things with buffers of `size` bytes, which arrive as bytearrays and bytes in turn."""
    return [kind(make(size)) for kind in (pickle.PickleBuffer, Reduced) for make in (bytearray, bytes)]


def types_of(things):
    """Returns the types and sizes of the contents of things."""
    contents = [thing.content if isinstance(thing, Reduced) else thing for thing in things]
    return [(type(content).__name__, len(content)) for content in contents]


def open_connection():
    import multiprocessing

    return multiprocessing.Pipe()[0]


class Mistaken(Exception):
    """Can't be described."""

    def __str__(self):
        return self.detail


class Unspeakable(Exception):
    """Can't be described at all: the traceback can't be made into text."""

    @property
    def __cause__(self):
        raise MemoryError("no memory")


def raise_undescribable(kind):
    if kind == "cause":
        try:
            raise Mistaken
        except Mistaken as error:
            raise ImportError("the extension could not be set up") from error
    if kind == "import":
        error = ImportError("not here")
        error.__str__ = None
        raise type("Strange", (ImportError,), {"__str__": Mistaken.__str__})
    if kind == "cycle":
        first, second = ImportError("first"), ImportError("second")
        first.__cause__, second.__cause__ = second, first
        raise first
    if kind == "class":
        raise type("Nameless", (Exception,), {"__module__": property(Mistaken.__str__)})
    raise Unspeakable


def strange_view(kind, size):
    """Returns memory whose format or shape `memoryview.cast` does not make."""
    whole = memoryview(array("i", range(4))).cast("B")
    return {
        "empty": lambda: memoryview(array("d")),
        "empty and fixed": lambda: memoryview(b"").cast("c"),
        "no rows": lambda: whole.cast("i", (2, 2))[:0],
        "ctypes": lambda: memoryview((ctypes.c_int * size)(*range(size))),
        "other byte order": lambda: memoryview((ctypes.c_int.__ctype_be__ * size)(*range(size))),
        "no columns": lambda: memoryview((ctypes.c_int * 0 * 3)()),
        "one number": lambda: memoryview(ctypes.c_double(2.5)).toreadonly(),
        "structures": lambda: memoryview((Structure * size)()),
    }[kind]()


class Structure(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int), ("other", ctypes.c_double))


class Remover:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        os.unlink(self.name)


class File:
    """A file that goes with the object, of which a pickle only has the name."""

    def __init__(self):
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self.remover = Remover(name)

    def __reduce__(self):
        return str, (self.remover.name,)


def exists(name) -> bool:
    return os.path.exists(name)


def resized(content: bytes, size: int) -> bytes:
    """Returns so many bytes of the kind that it was given."""
    return content[:1] * size
