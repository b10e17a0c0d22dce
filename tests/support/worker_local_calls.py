"""Calls with worker-local values, for worker processes and interpreters: imports nothing of the tests."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from corefutures import worker_local


def write(journal: str, line: str) -> None:
    """Append a line to the journal: one system call, so that lines of several workers don't mix."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


class Model:
    """A value that says in the journal when it is made and closed."""

    def __init__(self, journal: str, name: str) -> None:
        self.journal, self.name = journal, name
        write(journal, f"make {name}")

    def close(self) -> None:
        write(self.journal, f"close {self.name}")


@contextlib.contextmanager
def entered(journal: str, name: str) -> Iterator[str]:
    write(journal, f"enter {name}")
    try:
        yield f"the value of {name}"
    finally:
        write(journal, f"leave {name}")


class Fails:
    """A factory that fails until a file exists."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self) -> str:
        if not os.path.exists(self.path):
            raise OSError("the model is missing")
        return "made"


class Unclosable:
    def close(self) -> None:
        raise ValueError("can't be closed")


of_the_module = worker_local(dict, kind="of the module")


def of_module() -> int:
    return id(of_the_module.get())


def of_module_and_argument(local: Any) -> bool:
    return local.get() is of_the_module.get()


def get(local: Any) -> Any:
    return local.get()


def name_of(local: Any) -> tuple[str, int, int]:
    """Returns the value's name, its identity, and the worker."""
    model = local.get()
    return model.name, id(model), threading.get_ident() ^ os.getpid()


def get_entered(local: Any) -> Any:
    return local.get()


def get_several(*locals_: Any) -> None:
    for local in locals_:
        local.get()


def get_in_threads(local: Any) -> int:
    """Returns how many different values ten threads of the worker get."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(id(local.get()))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(set(found))


def kill_this_worker() -> None:
    os.kill(os.getpid(), 9)


itself: Any = worker_local(lambda: itself.get())


def get_itself() -> Any:
    return itself.get()
