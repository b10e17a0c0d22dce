"""The command line in a process of its own, in a folder with functions to run."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Seconds after which a command counts as hanging.
LIMIT = 50

JOBS = """
    import os
    import socket
    import threading
    import time

    ended = [threading.Event() for _ in range(5)]
    ended[4].set()

    def upper(text):
        return text.upper()

    def echo(value):
        return value

    def picky(text):
        if text.startswith("bad"):
            raise ValueError(f"no\\n{text}")
        return text

    def backwards(text):
        "Ends only after the call for the next number has ended."
        ended[int(text) + 1].wait()
        ended[int(text)].set()
        return text

    def telephone(port):
        "Tells the test that it runs, and returns what the test answers."
        if not port.isdigit():
            return port
        with socket.create_connection(("127.0.0.1", int(port))) as line:
            line.sendall(b"here")
            return line.recv(100).decode()

    def die(text):
        os._exit(7)

    def undecided(value):
        return {"nan": float("nan"), "set": {1}, "text": "text"}[value]

    class Unprintable:
        def __str__(self):
            raise RuntimeError("no text for this")

    def unprintable(text):
        return Unprintable()

    def lone(text):
        return "\\ud800"

    def more_than_a_pipe_takes(text):
        return "y" * 10_000_000

    def shown(text):
        return repr(text)

    def sleep_if_long(text):
        if text == "long":
            time.sleep(300)
        return text

    async def asynchronous_coroutine(text):
        return text

    async def asynchronous_generator(text):
        yield text

    class Asynchronous:
        async def __call__(self, text):
            return text

    asynchronous_Callable = Asynchronous()

    def coroutine_in_disguise(text):
        return asynchronous_coroutine(text)

    class Shelf:
        @staticmethod
        def put(text):
            return f"shelved {text}"

    not_a_function = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with the module `jobs`."""
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS), encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m corefutures` with some arguments, to its end."""

    def run(*arguments: str, text: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "corefutures", *arguments],
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
            **settings,
        )

    return run


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `python -m corefutures` with pipes at all ends; what still runs after the test is killed."""
    started = []

    def start(*arguments: str, **settings: object) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-m", "corefutures", *arguments]
        process = subprocess.Popen(command, cwd=folder, **{**pipes, **settings})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(LIMIT)
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            with contextlib.suppress(OSError):  # what was not written yet
                pipe.close()


class Switchboard:
    """Where the calls of `jobs:telephone` ring: the test knows that they run, and decides when they end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self.port = str(self._listener.getsockname()[1])
        self._lines: list[socket.socket] = []

    def answer(self) -> socket.socket:
        """Wait for the next call that runs."""
        line, _ = self._listener.accept()
        line.settimeout(LIMIT)
        self._lines.append(line)
        assert line.recv(4) == b"here"
        return line

    def close(self) -> None:
        for line in (*self._lines, self._listener):
            line.close()


@pytest.fixture
def switchboard() -> Iterator[Switchboard]:
    board = Switchboard()
    yield board
    board.close()
