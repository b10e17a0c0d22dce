"""Programs in which something has been put in the places of clocks, system calls, sockets and threads."""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from subprocesses import run_script

ROOT = Path(__file__).resolve().parents[2]
#: What is for the command line, comparisons and the kit: it looks at clocks as any program does.
ELSEWHERE = {"conformance", "cli", "_cli", "_commands", "_comparing", "_interpreting"}

CLOCKS = {name for name in dir(time) if callable(getattr(time, name))} - {"sleep", "strftime", "localtime", "gmtime"}
SYSTEM = {name for name in dir(__import__(os.name)) if name.islower() and callable(getattr(os, name, None))}
SYSTEM -= {"register_at_fork", "fspath", "cpu_count"}  # these take no part in running calls
#: What a library with threads of its own replaces is looked up at each call.
LOOKED_UP = {
    "_thread": {"allocate_lock", "get_ident", "start_new_thread", "LockType"},
    "threading": {"Thread", "Lock", "Event", "Semaphore", "current_thread", "get_ident", "local"},
    "time": CLOCKS | {"sleep"},
    "os": SYSTEM,
    "socket": {"socket", "socketpair"},
    "select": {"epoll", "poll", "select"},
}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted([*ROOT.glob("corefutures/**/*.py"), *ROOT.glob("p*/*/src/**/*.py")]):
        if path.name != "_originals.py" and not ELSEWHERE & set(path.relative_to(ROOT).parts):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            tree.body = [node for node in tree.body if ast.unparse(node).partition(":")[0] != "if TYPE_CHECKING"]
            yield path.relative_to(ROOT), tree


def test_clocks_and_system_calls_are_bound_and_threads_looked_up() -> None:
    wrong = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = node.value.id, node.attr
                if (used[0] == "time" and used[1] in CLOCKS) or (used[0] == "os" and used[1] in SYSTEM):
                    wrong.append(f"{path}:{node.lineno}: {'.'.join(used)}: take it from `_originals`")
                elif used[0] == "socket" and used[1] in LOOKED_UP["socket"]:
                    wrong.append(f"{path}:{node.lineno}: {'.'.join(used)}: take it from `_socket`")
            elif isinstance(node, ast.ImportFrom) and node.module in LOOKED_UP:
                names = {alias.name for alias in node.names} & LOOKED_UP[node.module]
                wrong += [f"{path}:{node.lineno}: {name}: look it up in {node.module} at each call" for name in names]
    assert wrong == []


PREAMBLE = """
    import concurrent.futures, multiprocessing, os, select, socket, sys, time
    from unittest import mock
    import corefutures

    KINDS = ["process"] + ["interpreter"] * (sys.version_info >= (3, 14))

    def made(kind, method="spawn"):
        options = {"mp_context": multiprocessing.get_context(method)} if kind == "process" else {}
        return corefutures.create_executor(kind, max_workers=1, **options)
"""

WAYS = pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@WAYS
def test_a_patched_system_call_breaks_no_pool(portable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    script = """
    if __name__ == "__main__":
        for kind in KINDS:
            with made(kind) as executor:
                assert executor.submit(abs, -1).result(30) == 1
                for name in ("read", "write", "close", "getpid"):
                    with mock.patch(f"os.{name}", side_effect=OSError("disk full")):
                        assert executor.submit(abs, -2).result(30) == 2
                        assert len(executor.submit(bytes, 200_000).result(30)) == 200_000
                assert executor.submit(abs, -3).result(30) == 3
        print("fine")
    """
    assert run_script(PREAMBLE + script) == (0, "fine\n", "")


@WAYS
@pytest.mark.parametrize("first", [True, False], ids=["imported before", "imported while it stands"])
def test_a_clock_that_stands_still_stops_no_time_limit(
    portable: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    script = """
    if __name__ == "__main__":
        if FIRST:
            import corefutures._future, corefutures_pools.workers.pool, corefutures_process, corefutures_thread
        for name in ("monotonic", "monotonic_ns", "perf_counter", "time"):
            setattr(time, name, lambda: 1000)
        for kind in ["thread", *KINDS]:
            with made(kind) as executor:
                future = executor.submit(time.sleep, 1)
                try:
                    future.result(timeout=0.1)
                except TimeoutError:
                    print(kind, len(corefutures.wait([future], timeout=0.01).not_done))
    """.replace("FIRST", str(first))
    kinds = ["thread", "process", *["interpreter"] * (sys.version_info >= (3, 14))]
    assert run_script(PREAMBLE + script) == (0, "".join(f"{kind} 1\n" for kind in kinds), "")


@posix
@WAYS
def test_sockets_may_be_forbidden_or_have_a_default_timeout(portable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    script = """
    class Blocked(socket.socket):
        def __new__(cls, *args, **kwargs):
            raise RuntimeError("a test tried to use a socket")

    if __name__ == "__main__":
        socket.setdefaulttimeout(0.05)
        socket.socket = Blocked
        for method in ("fork", "spawn"):
            with made("process", method) as executor:
                assert len(executor.submit(bytes, 200_000).result(30)) == 200_000
                assert executor.submit(len, bytes(200_000)).result(30) == 200_000
        print("fine")
    """
    ended = run_script(PREAMBLE + script, options=("-W", "ignore::DeprecationWarning"))
    assert (ended.status, ended.out) == (0, "fine\n"), ended.err


@posix
def test_without_epoll_pools_go_the_portable_way() -> None:
    script = """
    if __name__ == "__main__":
        if hasattr(select, "epoll"):
            del select.epoll
        for kind in KINDS:
            with made(kind) as executor:
                assert list(executor.map(abs, range(-3, 0), timeout=30)) == [3, 2, 1]
        print("fine")
    """
    assert run_script(PREAMBLE + script) == (0, "fine\n", "")
