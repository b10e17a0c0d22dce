"""Which way to the workers there is here: what the fast one needs is tried, not assumed."""

from __future__ import annotations

import _socket
import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

import corefutures
from corefutures._blocking import system
from corefutures_pools.workers.transport import supports_shared_queue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is the portable way only")

PROGRAM = Path(__file__).with_name("limited.py")


@pytest.fixture(autouse=True)
def _not_forced(monkeypatch):
    monkeypatch.delenv("COREFUTURES_PORTABLE", raising=False)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)


def refusing(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


WHAT = [
    (system, "memfd_create"), (system, "eventfd"), (system, "ftruncate"), (system, "open"), (select, "epoll"),
    (_socket, "socketpair"),
]  # fmt: skip


def test_there_is_one_here():
    assert supports_shared_queue()


def test_there_is_none_without_the_gil(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not supports_shared_queue()
    with corefutures.create_executor("process", max_workers=1, mp_context="spawn") as executor:
        assert executor.submit(abs, -1).result(30) == 1


def test_more_workers_than_there_will_ever_be_cost_nothing():
    if sys.version_info >= (3, 14):
        with corefutures.create_executor("interpreter", max_workers=10**30) as executor:
            assert executor.submit(abs, -1).result(30) == 1
    with corefutures.create_executor("process", max_workers=10**30, mp_context="spawn") as executor:
        assert executor.submit(abs, -1).result(30) == 1


@pytest.mark.parametrize(("module", "name"), WHAT, ids=lambda part: part if isinstance(part, str) else "")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EFBIG, None])
def test_what_is_missing_or_forbidden(monkeypatch, module, name, code):
    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        if code is None:
            patch.delattr(module, name)
        else:
            patch.setattr(module, name, refusing(code))
        assert not supports_shared_queue()
    assert os.listdir("/proc/self/fd") == before


def test_what_is_scarce_is_not_missing(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(system, "memfd_create", refusing(errno.EMFILE))
        assert supports_shared_queue()


@pytest.mark.parametrize("when", ["before", "after", "in workers"])
@pytest.mark.parametrize("backend", ["process", "interpreter"])
def test_a_limit_of_the_size_of_files(backend, when):
    if backend == "interpreter" and sys.version_info < (3, 14):
        pytest.skip("needs concurrent.interpreters, from Python 3.14 on")
    if backend == "interpreter" and when == "in workers":
        pytest.skip("interpreters share the limits of their process")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), backend, when], capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs privileges to give up")
def test_privileges_given_up_after_the_first_worker():
    if not os.stat(sys.executable).st_mode & 0o001 or not world_can_run(sys.executable):
        pytest.skip("this Python is for root only")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "process", "as nobody"], capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def world_can_run(program: str) -> bool:
    child = os.fork()
    if not child:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.execv(program, [program, "-c", "import corefutures_process"])
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def test_a_worker_without_proc_ends_with_its_pool():
    program = """
import os, sys
sys.path[:0] = {path!r}
from corefutures_process._worker_process import _watch_parent
outlet, inlet = os.pipe()
if os.fork():
    os.close(outlet)
    print("up", flush=True)
    sys.stdin.read()
    os._exit(0)
os.close(inlet)
_watch_parent(outlet)
import time
time.sleep(50)
print("late")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program.format(path=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.communicate(timeout=40)[0] == b"up\n"  # both ends of stdout are closed: the worker has ended
    assert process.returncode == 0
