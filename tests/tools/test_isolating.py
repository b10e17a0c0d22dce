"""Tools that keep a test from the clock, the files or the network of the machine: pools go on beneath them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)

KINDS = ["thread", "process"] + ["interpreter"] * (sys.version_info >= (3, 14))
#: The clocks that each tool stops: time-machine leaves those that only run forwards.
STOP = {
    "freezegun": ("import freezegun", "freezegun.freeze_time('2020-02-02')"),
    "time-machine": ("import datetime, time_machine", "time_machine.travel(datetime.datetime(2020, 2, 2), tick=False)"),
}


@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
@pytest.mark.parametrize("first", [True, False], ids=["imported before", "imported while it stands"])
@pytest.mark.parametrize("tool", STOP)
def test_time_limits_run_while_the_clock_stands(
    run: Callable[..., str], tool: str, first: bool, portable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    program = f"""
        {STOP[tool][0]}
        import sys, time

        def use(kind):
            import corefutures
            with corefutures.create_executor(kind, max_workers=1) as executor:
                assert executor.submit(abs, -1).result(timeout=30) == 1
                future = executor.submit(time.sleep, 0.5)
                try:
                    future.result(timeout=0.05)
                except TimeoutError:
                    print(kind, len(corefutures.wait([future], timeout=0.05).not_done), future.result(timeout=30))

        if __name__ == "__main__":
            if {first}:
                for kind in sys.argv[1:]:
                    use(kind)
            with {STOP[tool][1]}:
                for kind in sys.argv[1:]:
                    use(kind)
    """
    printed = run(program, *KINDS).splitlines()
    assert printed == [f"{kind} 1 None" for kind in KINDS] * (2 if first else 1)


@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
def test_pools_work_on_a_fake_file_system(
    run: Callable[..., str], portable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    program = """
        import multiprocessing, sys
        import corefutures
        from pyfakefs.fake_filesystem_unittest import Patcher

        def check(executor):
            assert list(executor.map(abs, range(-5, 0), timeout=30)) == [5, 4, 3, 2, 1]
            assert len(executor.submit(bytes, 1_000_000).result(30)) == 1_000_000
            assert executor.submit(len, bytes(1_000_000)).result(30) == 1_000_000

        def make(kind):
            options = {"mp_context": multiprocessing.get_context("fork")} if kind == "process" else {}
            return corefutures.create_executor(kind, max_workers=2, **options)

        if __name__ == "__main__":
            for kind in sys.argv[1:]:
                with make(kind) as executor:
                    check(executor)
                    with Patcher():
                        check(executor)
                    check(executor)
                if kind == "thread":  # the others start from files
                    with Patcher(), make(kind) as executor:
                        check(executor)
                print(kind)
    """
    assert run(program, *KINDS).split() == KINDS


@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
def test_pools_need_no_sockets(tmp_path: Path, portable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    test = tmp_path / "test_here.py"
    test.write_text(
        textwrap.dedent("""
        import multiprocessing, socket
        import pytest, pytest_socket
        import corefutures

        @pytest.mark.parametrize("method", ["fork", "spawn"])
        def test_it(method):
            with pytest.raises(pytest_socket.SocketBlockedError):
                socket.socket()
            with corefutures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
                assert executor.submit(abs, -1).result(30) == 1
                assert len(executor.submit(bytes, 1_000_000).result(30)) == 1_000_000
                assert executor.submit(len, bytes(1_000_000)).result(30) == 1_000_000
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--disable-socket", "-c", "/dev/null", "--rootdir", tmp_path, test],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr
