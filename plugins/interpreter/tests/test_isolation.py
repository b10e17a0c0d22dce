"""The manual's isolation: modules, output, globals, GIL; and how the main module is shared out."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import interpreter_calls


def test_each_worker_has_an_interpreter_of_its_own(make_pool):
    executor = make_pool(2)
    ends = [os.pipe() for _ in range(2)]
    try:
        waiting = [executor.submit(interpreter_calls.wait_for, reader) for reader, _ in ends]
        for _, writer in ends:
            os.write(writer, b"x")
        assert [future.result() for future in waiting] == [b"x", b"x"]
    finally:
        for end in ends:
            os.close(end[0])
            os.close(end[1])
    assert executor.submit(interpreter_calls.interpreter_number).result() != interpreter_calls.interpreter_number()


def test_modules_and_output_are_its_own(pool):
    output = sys.stdout
    assert pool.submit(interpreter_calls.redirect_output).result() == "StringIO"
    assert sys.stdout is output
    assert pool.submit(lambda: "graphlib" in __import__("sys").modules).result() is False
    pool.submit(__import__, "graphlib").exception()
    assert pool.submit(lambda: "graphlib" in __import__("sys").modules).result() is True


def test_state_lasts_from_call_to_call(pool):
    pool.submit(interpreter_calls.touch, 5).result()
    assert pool.submit(interpreter_calls.read_state).result() == 5
    assert interpreter_calls.state == "untouched"


def test_the_search_path_is_the_callers(pool, tmp_path, monkeypatch):
    (tmp_path / "found_only_here.py").write_text("def number(): return 17\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import found_only_here

    assert pool.submit(found_only_here.number).result() == 17


def test_two_interpreters_do_not_share_a_gil(make_pool):
    """One computes without end while the other answers; with one GIL both still might, so each counts the other's."""
    import _interpreters

    executor = make_pool(1)
    executor.submit(interpreter_calls.echo).result()
    number = executor.submit(interpreter_calls.interpreter_number).result()
    assert _interpreters.get_config(number).gil == "own"


def run(program: str, tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", str(path)], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip


MAIN = """
    from corefutures_interpreter import InterpreterPoolExecutor

    state = "untouched"

    class Point:
        def __init__(self, x):
            self.x = x

    def start(value):
        global state
        state = value

    def look():
        return state

    def double(point, by=2):
        return Point(point.x * by)

    if __name__ == "__main__":
        with InterpreterPoolExecutor(1, initializer=start, initargs=("set there",)) as executor:
            print(executor.submit(look).result(), state, executor.submit(double, Point(4)).result().x)
    """


def test_functions_and_classes_of_the_main_module_work(tmp_path, transport):
    done = run(MAIN, tmp_path, COREFUTURES_PORTABLE="1" if transport == "pipes" else "0")
    assert (done.stdout, done.stderr, done.returncode) == ("set there untouched 8\n", "", 0)


def test_a_main_module_that_makes_the_pool_unguarded_is_told_so(tmp_path):
    done = run(
        """
        from corefutures_interpreter import InterpreterPoolExecutor
        def pair(a, b=2): return a, b
        with InterpreterPoolExecutor(1) as executor:
            print(executor.submit(pow, 2, 5).result())
            print(executor.submit(pair, 1).exception())
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("32\n")
    assert 'if __name__ == "__main__"' in done.stdout


def test_a_program_without_a_file_can_send_what_needs_nothing():
    program = textwrap.dedent(
        """
        from corefutures_interpreter import InterpreterPoolExecutor
        def square(x): return x * x
        with InterpreterPoolExecutor(1) as executor: print(executor.submit(square, 7).result())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == ("49\n", "", 0)
