"""Debuggers, profilers and coverage beside pools: what `docs/look-inside.md` says that they see and miss."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="what is said was found on Linux"),
]
with_interpreters = pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14")

#: The head of the programs below.
HEAD = """
import asyncio, os, sys, time
import corefutures

def stay_busy(gate):
    while not os.path.exists(gate):
        sum(range(1000))

"""

BUSY = (
    HEAD
    + """
if __name__ == "__main__":
    backend, gate = sys.argv[1:]
    with corefutures.create_executor(backend, max_workers=1) as executor:
        future = executor.submit(stay_busy, gate)
        while not executor.snapshot().workers[0].stack or not future.running():
            pass
        print("ready", flush=True)
        future.result()
"""
)


#: The same with an event loop, whose task waits for the call. It prints the id of the worker's process.
AWAITING = (
    HEAD
    + """
async def call(executor, gate):
    await asyncio.get_running_loop().run_in_executor(executor, stay_busy, gate)

async def main(backend, gate):
    with corefutures.create_executor(backend, max_workers=1) as executor:
        task = asyncio.create_task(call(executor, gate), name="waits-for-a-call")
        while not [worker for worker in executor.snapshot().workers if worker.stack]:
            await asyncio.sleep(0.01)
        print("ready", executor.snapshot().workers[0].pid, flush=True)
        await task

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""
)
#: The same with a main thread that asks whether the call is done.
POLLING = (
    HEAD
    + """
def poll(future):
    while not future.done():
        time.sleep(0.01)

if __name__ == "__main__":
    backend, gate = sys.argv[1:]
    with corefutures.create_executor(backend, max_workers=1) as executor:
        future = executor.submit(stay_busy, gate)
        while not future.running():
            time.sleep(0.01)
        print("ready", flush=True)
        poll(future)
"""
)


@contextlib.contextmanager
def running(text: str, backend: str, folder: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A program with a busy worker, by its id and what it has printed after "ready", until the block ends."""
    (folder / "busy.py").write_text(text)
    gate = folder / "gate"
    gate.unlink(missing_ok=True)
    with subprocess.Popen([sys.executable, "busy.py", backend, gate], cwd=folder, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            ready, *printed = program.stdout.readline().split()
            assert ready == b"ready"
            yield program.pid, printed
        finally:
            gate.touch()


@contextlib.contextmanager
def busy(backend: str, folder: Path) -> Iterator[int]:
    """A program with a busy worker, by its id, until the block ends."""
    with running(BUSY, backend, folder) as (program, _):
        yield program


def output(*command: object, typed: str = "") -> str:
    """What a tool prints; a test is skipped where it may not read other processes."""
    done = subprocess.run(
        [str(word) for word in command], input=typed, capture_output=True, text=True, timeout=100, check=False
    )
    if re.search(r"[Pp]ermission|not permitted", done.stderr + done.stdout):
        pytest.skip("this machine lets no process read another one's memory")
    return done.stdout


WORK = """
import sys
import corefutures

def work(number):
    if number > 2:
        return number * 2
    return number

if __name__ == "__main__":
    backend, *method = sys.argv[1:]
    options = {"mp_context": __import__("multiprocessing").get_context(*method)} if method else {}
    with corefutures.create_executor(backend, max_workers=2, **options) as executor:
        print(list(executor.map(work, range(6), timeout=100)))
"""


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is not installed")
@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("thread", "concurrency = thread"),
        ("process fork", "patch = subprocess, _exit"),
        ("process forkserver", "patch = subprocess, _exit"),
        ("process spawn", "patch = subprocess, _exit"),
        ("process forkserver", "concurrency = multiprocessing, thread"),
        pytest.param("interpreter", "patch = subprocess", marks=with_interpreters),
    ],
)
def test_coverage_measures_calls(backend: str, settings: str, tmp_path: Path) -> None:
    (tmp_path / ".coveragerc").write_text(f"[run]\nparallel = true\n{settings}\n")
    (tmp_path / "program.py").write_text(WORK)
    printed = ""
    for command in (f"run program.py {backend}", "combine", "report -m --include=program.py"):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *command.split()],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout
    assert "[0, 1, 2, 6, 8, 10]" in printed
    assert re.search(r"program\.py .* 100%", printed), printed


SPY = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def dumps(program: int, *options: str) -> str:
    """What py-spy prints, again until it has read a whole stack: the frames change while it reads them."""
    seen = ""
    for _ in range(20):
        seen = output(SPY, "dump", *options, "--pid", program)
        if "stay_busy" in seen:
            break
    return seen


@pytest.mark.skipif(SPY is None, reason="py-spy is not installed")
def test_py_spy_sees_threads_and_subprocesses(tmp_path: Path) -> None:
    with busy("thread", tmp_path) as program:
        seen = dumps(program)
        assert "stay_busy" in seen
        assert "MainThread" in seen
    with busy("process", tmp_path) as program:
        assert "stay_busy" not in output(SPY, "dump", "--pid", program)
        assert "stay_busy" in dumps(program, "--subprocesses")


@pytest.mark.skipif(SPY is None, reason="py-spy is not installed")
@with_interpreters
def test_py_spy_sees_an_interpreter_in_place_of_the_program(tmp_path: Path) -> None:
    with busy("interpreter", tmp_path) as program:
        seen = dumps(program)
    assert "stay_busy" in seen
    assert "<module> (busy.py" not in seen, "py-spy shows the program now: change docs/look-inside.md"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="the sampling profiler is in Python 3.15")
@pytest.mark.parametrize(
    ("backend", "options", "found"),
    [
        ("thread", [], False),
        ("thread", ["-a"], True),
        ("process", ["-a"], False),
        ("process", ["-a", "--subprocesses"], True),
        ("interpreter", ["-a"], True),
    ],
)
def test_the_sampling_profiler_sees(backend: str, options: list[str], found: bool, tmp_path: Path) -> None:
    with busy(backend, tmp_path) as program:
        attach = [sys.executable, "-m", "profiling.sampling", "attach", *options, "-d", "2", "--collapsed"]
        printed = output(*attach, "-o", tmp_path / "stacks.txt", program)
    stacks = "".join(file.read_text() for file in tmp_path.glob("stacks*.txt"))
    assert "busy.py" in stacks, printed
    assert ("stay_busy" in stacks) == found


needs_attaching = pytest.mark.skipif(sys.version_info < (3, 14), reason="Python attaches to others since 3.14")


@needs_attaching
@pytest.mark.parametrize(("backend", "seen"), [("thread", True), ("process", True), ("interpreter", False)])
def test_asyncio_shows_the_tasks_of_the_program(backend: str, seen: bool, tmp_path: Path) -> None:
    with running(AWAITING, backend, tmp_path) as (program, _):
        printed = output(sys.executable, "-m", "asyncio", "ps", program)
    assert ("waits-for-a-call" in printed) == seen, printed


@needs_attaching
def test_pdb_stops_the_call_of_a_worker_process(tmp_path: Path) -> None:
    with running(AWAITING, "process", tmp_path) as (_, [worker]):
        printed = output(sys.executable, "-m", "pdb", "-p", worker.decode(), typed="where\nquit\n")
        assert "stay_busy" in printed, printed


@needs_attaching
def test_pdb_stops_the_main_thread_in_place_of_a_worker(tmp_path: Path) -> None:
    with running(POLLING, "thread", tmp_path) as (program, _):
        printed = output(sys.executable, "-m", "pdb", "-p", program, typed="where\nquit\n")
    assert "poll" in printed, printed
    assert "stay_busy" not in printed


class DebugSession:
    """An editor's side of one session with debugpy, by the Debug Adapter Protocol.

    It stops at the line of WORK that a call of `work(3)` reaches, and goes on without that breakpoint. For each process
    that debugpy announces it opens another session.

    Args:
        port: Where debugpy, or its adapter, listens.
        program: The path of the file with the breakpoint.
        **attach: The arguments of the request `attach`.
    """

    def __init__(self, port: int, program: Path, **attach: object) -> None:
        self._program = str(program)
        self._attach = attach
        self._sent = 0
        self.stops = 0
        self.others: list[DebugSession] = []
        for _ in range(1000):  # until it listens
            with contextlib.suppress(ConnectionRefusedError):
                self._socket = socket.create_connection(("127.0.0.1", port), timeout=100)
                break
            time.sleep(0.05)
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _send(self, command: str, **arguments: object) -> None:
        self._sent += 1
        message = {"seq": self._sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def _set_breakpoints(self, *lines: int) -> None:
        self._send("setBreakpoints", source={"path": self._program}, breakpoints=[{"line": line} for line in lines])

    def _follow(self) -> None:
        self._send("initialize", adapterID="python", clientID="test", pathFormat="path")
        self._send("attach", **self._attach)
        with self._socket, self._socket.makefile("rb") as received:
            while line := received.readline():
                received.readline()
                message = json.loads(received.read(int(line.split(b":")[1])))
                event, body = message.get("event"), message.get("body")
                if event == "terminated":
                    return
                if event == "initialized":
                    self._set_breakpoints(1 + WORK.splitlines().index("        return number * 2"))
                    self._send("configurationDone")
                elif event == "stopped":
                    self.stops += 1
                    self._set_breakpoints()
                    self._send("continue", threadId=body["threadId"])
                elif event == "debugpyAttach":
                    process = body["subProcessId"]
                    self.others.append(DebugSession(body["connect"]["port"], Path(self._program), subProcessId=process))


@pytest.mark.skipif(importlib.util.find_spec("debugpy") is None, reason="debugpy is not installed")
@pytest.mark.parametrize("backend", ["thread", "process", pytest.param("interpreter", marks=with_interpreters)])
def test_breakpoints_stop_calls_of_threads_and_processes(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(WORK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-X", "frozen_modules=off", "-m", "debugpy", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [*command, "--wait-for-client", "program.py", backend], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as program:
        killer = threading.Timer(120, program.kill)
        killer.start()
        try:
            session = DebugSession(port, path, justMyCode=True, subProcess=True)
            printed, _ = program.communicate()
        finally:
            killer.cancel()
    sessions = [session]
    for one in sessions:  # grows
        one.thread.join(20)
        sessions += one.others
    assert "[0, 1, 2, 6, 8, 10]" in printed
    assert bool(session.stops) == (backend == "thread")
    assert any(one.stops for one in sessions[1:]) == (backend == "process")
