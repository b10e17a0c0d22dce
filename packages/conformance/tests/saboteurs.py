"""Executors that do not merely break a rule but try to take the kit with them."""

from __future__ import annotations

import multiprocessing.shared_memory
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any, ClassVar

from reference import ThreadExecutor

from corefutures_conformance.worker import calls


class Hanging(ThreadExecutor):
    """submit() never returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        threading.Event().wait()
        raise AssertionError("unreachable")


class Leaving(ThreadExecutor):
    """submit() ends the process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        os._exit(17)


class Crashing(ThreadExecutor):
    """submit() crashes the process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if sys.platform == "win32":
            os.abort()
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError("unreachable")


class HangingOnce(ThreadExecutor):
    """submit() never returns for a keyword called `fn`; all else is right."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if "fn" in kwargs:
            threading.Event().wait()
        return super().submit(fn, *args, **kwargs)


class HangingWithProgram(ThreadExecutor):
    """Its second submit() starts a program in a process group of its own, says which, and never returns."""

    def __init__(self, max_workers: int, file: str) -> None:
        super().__init__(max_workers)
        self.file = file

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is calls.echo:
            return super().submit(fn, *args, **kwargs)
        sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
        group: dict[str, Any] = {} if sys.platform == "win32" else {"preexec_fn": os.setpgrp}
        program = subprocess.Popen(sleeper, **group)
        with open(f"{self.file}.new", "w") as file:
            file.write(f"{os.getpid()} {program.pid}")
        os.replace(f"{self.file}.new", self.file)
        threading.Event().wait()
        raise AssertionError("unreachable")


class LeavingLater(ThreadExecutor):
    """submit() ends the process, but for the call that the kit tries first."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is not calls.echo:
            os._exit(17)
        return super().submit(fn, *args, **kwargs)


class TellingNothing(ThreadExecutor):
    """Every future that it gives but the first call's fails alike."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is not calls.echo:
            raise OSError(f"there is no worker {id(fn)}")
        return super().submit(fn, *args, **kwargs)


class HangingWithSharedMemory(ThreadExecutor):
    """submit() makes shared memory and semaphores, and never returns."""

    def __init__(self, max_workers: int, name: str) -> None:
        super().__init__(max_workers)
        self.name = name

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        held = multiprocessing.shared_memory.SharedMemory(self.name, create=True, size=1)
        lock = multiprocessing.get_context("spawn").Lock()
        print(held, lock)
        threading.Event().wait()
        raise AssertionError("unreachable")


class Refusing(ThreadExecutor):
    """It cannot even be made."""

    def __init__(self, max_workers: int) -> None:
        raise OSError("no workers today")


class Chatting(ThreadExecutor):
    """It prints, and reads standard input, while rules run."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        print('{"run": "nonsense"}', flush=True)
        assert sys.stdin.read() == ""
        return super().submit(fn, *args, **kwargs)


class WithoutInitializer(ThreadExecutor):
    """A correct executor that takes no initializer."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)


class Declaring(ThreadExecutor):
    """Keeps one keyword for itself, and says so."""

    expected_failures: ClassVar = {"submitting.passes_a_keyword_called_fn": "it keeps fn for itself"}

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
        return super().submit(fn, *args, **kwargs)


class DeclaringNoRule(Declaring):
    """Declares that it breaks what is no rule."""

    expected_failures: ClassVar = {"submitting.no_such_rule": "there is none"}


class DeclaringNoReason(Declaring):
    """Declares a rule without a reason."""

    expected_failures: ClassVar = {"submitting.passes_a_keyword_called_fn": ""}
