"""The main module under its other names, and where workers can't have it: what works, and what is said of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LIMIT = 50
KINDS = ["process"] + ["interpreter"] * (sys.version_info >= (3, 14))

needs_interpreters = pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14")


def run(*command: object, text: str | None = None, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        input=text, cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


@needs_interpreters
@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
def test_interpreters_inside_workers_find_the_functions_of_the_program(tmp_path: Path, portable: str) -> None:
    program = write(
        tmp_path / "program.py",
        """
        import multiprocessing, sys
        import corefutures

        POWER = 2

        def square(number):
            return number ** POWER

        def inner(number):
            with corefutures.InterpreterPoolExecutor(1) as executor:
                return executor.submit(square, number).result(timeout=30)

        if __name__ == "__main__":
            for method in ("spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                with corefutures.ProcessPoolExecutor(1, context) as executor:
                    print(executor.submit(inner, 3).result(timeout=40))
            with corefutures.InterpreterPoolExecutor(1) as executor:
                print(executor.submit(inner, 3).result(timeout=40))
        """,
    )
    assert run(program, COREFUTURES_PORTABLE=portable).split() == ["9", "9", "9"]


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_a_packages_main_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "package" / "__init__.py", "")
    write(
        tmp_path / "package" / "__main__.py",
        f"""
        import multiprocessing
        import corefutures

        POWER = 2

        def square(number):
            return number ** POWER

        if __name__ == "__main__":
            options = {{"mp_context": multiprocessing.get_context("spawn")}} if {kind!r} == "process" else {{}}
            for serializer in ("pickle", "cloudpickle"):
                with corefutures.create_executor({kind!r}, max_workers=1, serializer=serializer, **options) as executor:
                    future = executor.submit(square, 3)
                    print(future.exception(timeout=30) or future.result())
        """,
    )
    first, second = run("-m", "package", cwd=tmp_path).splitlines()
    assert first.startswith("square was defined where workers can't import it, in the __main__.py that was started")
    assert second == "9"


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_from_standard_input_has_pools(kind: str) -> None:
    program = f"""
    import multiprocessing
    import corefutures

    def square(number):
        return number * number

    if __name__ == "__main__":
        options = {{"mp_context": multiprocessing.get_context("spawn")}} if {kind!r} == "process" else {{}}
        with corefutures.create_executor({kind!r}, max_workers=1, **options) as executor:
            print(executor.submit(abs, -1).result(timeout=30))
        with corefutures.create_executor({kind!r}, max_workers=1, serializer="cloudpickle", **options) as executor:
            print(executor.submit(square, 3).result(timeout=30), globals().get("__file__") in (None, "<stdin>"))
    """
    assert run(text=textwrap.dedent(program)) == "1\n9 True\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_program_from_standard_input_defines_is_said_to_be_out_of_reach(kind: str) -> None:
    program = f"""
    import multiprocessing
    import corefutures

    class Square:
        def __call__(self, number):
            return number * number

    if __name__ == "__main__":
        options = {{"mp_context": multiprocessing.get_context("spawn")}} if {kind!r} == "process" else {{}}
        with corefutures.create_executor({kind!r}, max_workers=1, **options) as executor:
            print(executor.submit(Square(), 3).exception(timeout=30))
    """
    assert "Square was defined where workers can't import it" in run(text=textwrap.dedent(program))


@pytest.mark.skipif(sys.platform == "win32", reason="needs the start method forkserver")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import os; os._exit(3)", "exit code 3"),
        ("raise SystemExit('not here')", "not here"),
    ],
)
def test_a_preloaded_module_that_fails_is_named_alone(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path / "broken_preload.py", text)
    write(tmp_path / "later_preload.py", "raise RuntimeError('nobody gets here')")
    write(tmp_path / "absent_preload.py", "raise ImportError('which is passed over')")
    program = write(
        tmp_path / "program.py",
        """
        import multiprocessing
        import corefutures

        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["json", "absent_preload", "broken_preload", "later_preload"])
            try:
                with corefutures.ProcessPoolExecutor(1, context) as executor:
                    executor.submit(abs, -1).result(timeout=30)
            except RuntimeError as error:
                print(error)
        """,
    )
    printed = run(program, cwd=tmp_path)  # where even a server that is not told of `sys.path` finds them
    assert printed.rstrip().endswith(f"and ends if that fails: broken_preload fails ({told})."), printed
    assert "__main__" not in printed


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before 3.14 the fork server does not import the main module")
def test_preloaded_modules_are_not_blamed_for_a_main_module_without_guard(tmp_path: Path) -> None:
    program = write(
        tmp_path / "program.py",
        """
        import multiprocessing
        import sys
        import corefutures

        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", "json"])
            try:
                with corefutures.ProcessPoolExecutor(1, context) as executor:
                    executor.submit(abs, -1).result(timeout=30)
            except RuntimeError as error:
                print(error)
        else:
            sys.exit("a pool is made here, say")
        """,
    )
    printed = run(program)
    assert "put that under `if __name__ == '__main__':`" in printed
    assert "json" not in printed


@needs_interpreters
@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
def test_each_call_is_told_why_interpreters_cannot_import_the_program(tmp_path: Path, portable: str) -> None:
    program = write(
        tmp_path / "program.py",
        """
        import collections
        import corefutures
        if __name__ != "__main__":
            raise ImportError("this does not support loading in subinterpreters")

        def work(number):
            return collections.Counter([number])

        if __name__ == "__main__":
            with corefutures.InterpreterPoolExecutor(2) as executor:
                errors = [executor.submit(work, number).exception(timeout=30) for number in range(10)]
            told = {(type(error).__name__, str(error), len(error.__notes__), error.__notes__[0]) for error in errors}
            print(len(told), *told)
        """,
    )
    printed = run(program, COREFUTURES_PORTABLE=portable)
    assert printed.startswith("1 ('ImportError', 'this does not support loading in subinterpreters', 1, ")
    assert 'create_executor("process")' in printed


@needs_interpreters
def test_a_library_that_hides_a_refusal_gets_the_note_too(tmp_path: Path) -> None:
    write(
        tmp_path / "hiding.py",
        """
        try:
            import numpy
        except ImportError:
            pass
        def use():
            return numpy.pi
        def hide():
            try:
                use()
            except NameError as error:
                raise RuntimeError("numpy is needed") from error
        def fail():
            raise ValueError("of another kind")
        """,
    )
    program = write(
        tmp_path / "program.py",
        """
        import corefutures, sys
        sys.path.insert(0, sys.argv[1])
        sys.modules["numpy"] = None
        import hiding
        if __name__ == "__main__":
            with corefutures.InterpreterPoolExecutor(1) as executor:
                for function in (hiding.use, hiding.hide, hiding.fail):
                    error = executor.submit(function).exception(timeout=40)
                    print(type(error).__name__, *getattr(error, "__notes__", ()))
        """,
    )
    used, hidden, failed = run(program, tmp_path).splitlines()
    for line, kind in ((used, "NameError"), (hidden, "RuntimeError")):
        assert line.startswith(f"{kind} This may come of what couldn't be loaded in this interpreter: numpy.")
        assert 'create_executor("process")' in line
    assert failed.startswith("ValueError This interpreter could not load numpy.")
    assert "_suggestions" not in used + hidden + failed  # `traceback` has the same in Python


@needs_interpreters
def test_start_up_hooks_are_not_told_that_an_interpreter_is_in_the_main_thread(tmp_path: Path) -> None:
    write(
        tmp_path / "sitecustomize.py",
        """
        import signal, threading
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        """,
    )
    program = "import corefutures as f\nwith f.InterpreterPoolExecutor(1) as e: print(e.submit(pow, 2, 5).result(30))"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("32\n", "")
