"""What the tests have workers do. Runs in workers: imports little, and nothing of the tests.

Gates and marks are files: they work across processes, and what a killed process wrote stays.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

#: Seconds after which a gate that nobody opens fails the call. No test that passes waits so long.
LIMIT = 30.0


def mark(path: str, text: str = "") -> str:
    """Appends a line to the file `path`, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
    return text


def lines(path: str) -> list[str]:
    """Returns the lines that were marked there."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []


def until(condition, what: str = "") -> None:
    """Returns once `condition()` holds, and fails if it never does."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what or condition}")
        time.sleep(0.001)


def pass_gate(gate: str, value: object = None) -> object:
    """Waits until the file `gate` exists."""
    until(lambda: os.path.exists(gate), gate)
    return value


def start_and_pass(started: str, gate: str, value: object = None) -> object:
    """Marks that it runs, with its process, then waits at the gate."""
    mark(started, str(os.getpid()))
    return pass_gate(gate, value)


def note_and_return(journal: str, value: object) -> object:
    mark(journal, str(value))
    return value


def square(x):
    return x * x


def negative(x):
    return -x


def fail(kind: type[BaseException], *args: object) -> None:
    raise kind(*args)


def pid(_: object = None) -> int:
    return os.getpid()


def crash() -> None:
    """Dies of SIGSEGV, without a core dump or a report."""
    faulthandler.disable()
    if hasattr(os, "kill") and sys.platform != "win32":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(3)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(7)


def leave_at(gate: str) -> None:
    pass_gate(gate)
    leave()


def loud_exit() -> None:
    raise SystemExit(5)


def complain() -> None:
    raise ArithmeticError("on purpose")


class Upon:
    """Does `deed` at one moment of its life: when it is pickled, or unpickled."""

    def __init__(self, moment: str, deed) -> None:
        self.moment = moment
        self.deed = deed

    def __reduce__(self):
        if self.moment == "pickling":
            self.deed()
        return self.deed, ()


def give(moment: str, deed) -> object:
    """Returns something that fails later."""
    return Upon(moment, deed)


def give_a_lock() -> object:
    import threading

    return threading.Lock()


class Particular(Exception):
    """Pickles, and does not unpickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Private(Exception):
    """Does not pickle."""

    def __reduce__(self):
        raise TypeError("this exception is private")


def raise_private() -> None:
    raise Private("secret")


def raise_particular() -> None:
    raise Particular(1, 2)


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


def fill(kind: str, size: int) -> object:
    if kind == "bytes":
        return bytes(range(256)) * (size // 256)
    if kind == "bytearray":
        return bytearray(range(256)) * (size // 256)
    import numpy as np

    return np.arange(size // 8)


def same(payload: object, kind: str, size: int) -> bool:
    expected = fill(kind, size)
    return bool((payload == expected).all()) if kind == "array" else payload == expected


def echo(x):
    return x


def change(array):
    """Writes to its argument, which must be the worker's own."""
    array[0] = 99
    return int(array[0])


def modules() -> list[str]:
    return sorted(sys.modules)


def set_up(value: object) -> None:
    global prepared
    prepared = value


prepared: object = None


def end_slowly(path: str) -> None:
    """Has this process end only once the gate is open; for a minute at most."""
    from multiprocessing.util import Finalize

    Finalize(None, pass_gate, (path,), exitpriority=0)


def what_was_set_up() -> object:
    return prepared


_tries = []


def fail_another_way():
    _tries.append(None)
    raise (ValueError, KeyError)[len(_tries) % 2]("how many tries there were")


class _Late:
    def __reduce__(self):
        time.sleep(0.1)
        return str, ("it fails",)


def report_and_fail(queue):
    """Reports through a `multiprocessing.Queue`, whose thread is late to pickle it, and is waited for at exit."""
    queue.put(_Late())
    raise LookupError("no set-up today")


def fail_to_set_up() -> None:
    raise LookupError("no set-up today")


def limited_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def eat(size: int) -> int:
    return len(bytearray(size))


def fork_a_child(path: str) -> int:
    """Leaves a process behind, which holds whatever it inherited until the file exists."""
    child = os.fork()
    if child == 0:
        try:
            until(lambda: os.path.exists(path))
        finally:
            os._exit(0)
    return child


def fork_and_return_twice(journal: str) -> int:
    """Returns in two processes."""
    os.fork()
    mark(journal, str(os.getpid()))
    return os.getpid()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Stubborn(Exception):
    """Lets nobody set its cause, or add a note."""

    @property
    def __cause__(self):
        return None

    def __setattr__(self, name, value):
        raise AttributeError(name)


def raise_stubborn():
    raise Stubborn("no")


class DecodesStubbornly:
    def __reduce__(self):
        return raise_stubborn, ()


def give_stubborn():
    return DecodesStubbornly()


def close_descriptors() -> None:
    os.closerange(3, 100)


def pipes_and_sockets() -> list[int]:
    """Returns what leads out of this process and is not its standard output, or multiprocessing's nested_loops'."""
    from multiprocessing import forkserver, resource_tracker

    nested_loops = resource_tracker._resource_tracker._fd, forkserver._forkserver._forkserver_alive_fd
    found = []
    for number in range(3, 100):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(("pipe", "socket")) and number not in nested_loops:
            found.append(number)
    return found


def write_to_descriptors(text: bytes = b"a library's word\n") -> None:
    for descriptor in pipes_and_sockets():
        try:
            os.write(descriptor, text)
        except OSError:  # it is for reading
            pass


def write_zeros_to_descriptors() -> None:
    write_to_descriptors(bytes(17))


def babble_and_wait(gate: str) -> None:
    write_to_descriptors(b"one word ")
    write_to_descriptors(b"and another, and more\n")
    pass_gate(gate)


def leave_a_thread_and_fail(gate: str) -> None:
    import threading

    threading.Thread(target=pass_gate, args=(gate,)).start()
    raise LookupError("no set-up today")


def program_ended_by_interrupt() -> int:
    import subprocess

    program = subprocess.Popen(["sleep", "600"])
    program.send_signal(signal.SIGINT)
    return program.wait()


def clean_up_when_interrupted(journal: str) -> str:
    try:
        mark(journal, "began")
        time.sleep(600)
    except KeyboardInterrupt:
        mark(journal, "interrupted")
        time.sleep(0.5)  # in which the pool interrupts again
        mark(journal, "cleaned up")
    return "cleaned up"


def start_tree():
    """Starts a program that starts another, and returns once both run."""
    import subprocess

    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    program.other = int(program.stdout.readline())
    program.stdout.close()
    return program


def start_programs(journal: str, kind: str) -> list[int]:
    """Starts programs and notes their numbers; stays until they end, unless they are to be left behind."""
    import subprocess

    programs = [subprocess.Popen(["sleep", "600"], start_new_session=kind == "session")]
    if kind == "ignorant":
        programs[0].kill()
        script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
        programs = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)]
        programs[0].stdout.readline()
    numbers = [program.pid for program in programs]
    if kind == "tree":
        tree = start_tree()
        numbers += [tree.pid, tree.other]
    for number in numbers:
        mark(journal, str(number))
    mark(journal, "all")
    if kind != "left behind":
        programs[0].wait()
    return numbers


def resized(content: bytes, size: int) -> bytes:
    """Returns so many bytes of the kind that it was given."""
    return content[:1] * size


def die(_: object) -> None:
    kill_self()


class Forking:
    """Forks where it is unpickled, and becomes its size and the exit code of the child."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self):
        return _forked, (self.content,)


def _forked(content: bytes) -> tuple[int, int]:
    child = os.fork()
    if not child:
        os._exit(0)
    return len(content), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
