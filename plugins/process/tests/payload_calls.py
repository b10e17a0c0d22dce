"""What the tests of payloads have workers do, and do themselves. Runs in workers: imports little."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import weakref
from pathlib import Path

kept = []


def array_and_bytearray(size: int):
    import numpy as np

    return np.arange(size), bytearray(8 * size)


def in_forked_child(deed) -> None:
    """Has a forked child do something, and waits for its end."""
    child = os.fork()
    if not child:
        try:
            deed()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def change_in_forked_child(array, as_bytes) -> bool:
    """Returns whether what a child does to its copies leaves ours as they are."""
    before = array.copy(), bytes(as_bytes)

    def change() -> None:
        array.fill(7)
        as_bytes[:] = b"c" * len(as_bytes)

    in_forked_child(change)
    return bool((array == before[0]).all()) and as_bytes == before[1]


def keep(thing) -> int:
    """Keeps an argument, and returns how many descriptors there are."""
    kept.append(thing)
    return len(os.listdir("/proc/self/fd"))


def only_value(array) -> float:
    (value,) = {*array.tolist()}
    return value


def only_values_kept() -> list[float]:
    return [only_value(array) for array in kept]


def sum_of(array) -> float:
    return float(array.sum())


def filled(size: int, number: int):
    import numpy as np

    return np.full(size, float(number))


def keep_in_forked_child(array):
    """Returns the descriptors by which `only_value_in_child` asks a child that alone keeps an argument."""
    (asked, ask), (answer, answered) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(ask)
            os.read(asked, 1)
            os.write(answered, repr(only_value(array)).encode())
        finally:
            os._exit(0)
    os.close(asked)
    os.close(answered)
    return child, ask, answer


def only_value_in_child(child) -> float:
    process, ask, answer = child
    os.write(ask, b"?")
    os.waitpid(process, 0)
    value = float(os.read(answer, 100))
    os.close(ask)
    os.close(answer)
    return value


def last_kept():
    return kept[-1]


def summary_and_full():
    import numpy as np

    full = np.ones(2_500_000)  # 20 MB
    return full[:5_000].copy(), full[:500_000].copy(), full  # 40 kB, 4 MB


def megabytes() -> int:
    """Returns what this process has in memory files (ours but for its own arena), and in memory of its own."""
    with open("/proc/self/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem"))) // 1024


def keep_first(parts) -> int:
    kept.append(parts[0])
    return megabytes()


class Reduced:
    """Hands out a `PickleBuffer`, and is made again of what arrives."""

    def __init__(self, content) -> None:
        self.content = content

    def __reduce_ex__(self, protocol):
        return Reduced, (pickle.PickleBuffer(self.content),)


def buffer(kind: str, size: int):
    """Returns a thing with buffers, and what `types_of` says of it once it has arrived."""
    content = bytearray(size)
    if kind == "writable":
        return pickle.PickleBuffer(content), [("bytearray", size)]
    if kind == "read-only":
        return pickle.PickleBuffer(bytes(content)), [("bytes", size)]
    if kind == "array":
        try:
            import numpy as np
        except ImportError:
            return pickle.PickleBuffer(content), [("bytearray", size)]
        return pickle.PickleBuffer(np.zeros(size // 4, dtype="i4")), [("bytearray", size)]
    if kind == "reduced":
        return Reduced(content), [("bytearray", size)]
    nested = {"a": [Reduced(bytes(content)), pickle.PickleBuffer(content)], "b": (bytes(content), content, "x" * size)}
    return nested, [("bytes", size), ("bytearray", size), ("bytes", size), ("bytearray", size), ("str", size)]


def types_of(thing):
    """Returns the types and sizes of all contents in a thing."""
    if isinstance(thing, dict):
        return [found for value in thing.values() for found in types_of(value)]
    if isinstance(thing, (list, tuple)):
        return [found for value in thing for found in types_of(value)]
    if isinstance(thing, Reduced):
        return types_of(thing.content)
    return [(type(thing).__name__, thing.raw().nbytes if isinstance(thing, pickle.PickleBuffer) else len(thing))]


class Registered:
    def __init__(self, number: int) -> None:
        self.number = number


def reduce_registered(factor: int, thing: Registered):
    return Registered, (thing.number * factor,)


def greet(link) -> str:
    (link.sendall if isinstance(link, socket.socket) else link.send_bytes)(b"hello")
    return "sent"


def open_pair():
    import multiprocessing

    kept[:] = multiprocessing.Pipe()
    return kept[0]


def read_other_end() -> bytes:
    return kept[1].recv_bytes()


def raise_large(make) -> None:
    raise ValueError("x" * 2_000_000, make)


def add(target, item) -> int:
    target.append(item)
    return len(target)


def exists(place) -> bool:
    return os.path.exists(place if isinstance(place, Path) else getattr(place, "held", place).name)


class Holder:
    def __init__(self, held):
        self.held = held


class File:
    """A file that goes with the object, of which a pickle only has the name."""

    def __init__(self, *, refers: bool = False):
        descriptor, self.name = tempfile.mkstemp()
        os.close(descriptor)
        finalizer = weakref.finalize(self, os.unlink, self.name)
        if refers:
            self.finalizer = finalizer


class Remover:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        os.unlink(self.name)


class Named:
    """The same, in a way of its own."""

    def __init__(self):
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self.remover = Remover(name)

    def __reduce__(self):
        return Path, (self.remover.name,)
