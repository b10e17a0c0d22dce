"""`corefutures map`: what goes in, what comes out, in which order and with which exit status."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import corefutures
from corefutures.registry._registry import installed_backend_names

STANDARD_PROCESSES = "concurrent.futures:ProcessPoolExecutor"
BACKENDS = [
    *(name for name in ("thread", "process", "interpreter") if name in installed_backend_names()),
    STANDARD_PROCESSES,
]

posix_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows: no SIGINT can be sent to one other process"
)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


class TestItems:
    def test_from_the_arguments(self, run, backend):
        done = run("map", "-b", backend, "jobs:upper", "a", "b", "c")
        assert (done.returncode, done.stdout, done.stderr) == (0, "A\nB\nC\n", "")

    def test_from_standard_input(self, run, backend):
        done = run("map", "-b", backend, "jobs:upper", text="a\n\n b \nlast without end")
        assert (done.returncode, done.stdout, done.stderr) == (0, "A\n\n B \nLAST WITHOUT END\n", "")

    def test_none_at_all(self, run):
        done = run("map", "jobs:upper")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_options_may_stand_anywhere(self, run):
        done = run("map", "jobs:upper", "-j", "1", "a", "b", "-b", "thread")
        assert (done.returncode, done.stdout) == (0, "A\nB\n")

    def test_may_look_like_options_after_two_dashes(self, run):
        done = run("map", "jobs:upper", "--", "-b", "--json-lines")
        assert (done.returncode, done.stdout) == (0, "-B\n--JSON-LINES\n")

    def test_are_json_values_with_json(self, run, backend):
        values = [1, 2.5, "text", None, [True, {"a": []}], "ümlaut"]
        lines = "".join(f"{json.dumps(value)}\n" for value in values)
        done = run("map", "-b", backend, "--json-lines", "jobs:echo", text=lines)
        assert done.returncode == 0
        assert [json.loads(line) for line in done.stdout.splitlines()] == values

    def test_that_are_not_json_fail_alone(self, run):
        done = run("map", "--json-lines", "jobs:echo", "1", "one", "2")
        assert (done.returncode, done.stdout) == (1, "1\n2\n")
        assert "item 2 ('one') failed: JSONDecodeError" in done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows: file names are text")
    def test_that_are_not_text_come_back_as_they_were(self, run, folder):
        command = [sys.executable, "-m", "corefutures", "map", "jobs:echo"]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            command,
            input=b"a\xffb\n",
            capture_output=True,
            cwd=folder,
            env=environment,
            timeout=50,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"a\xffb\n")

    def test_many_keep_their_order(self, run, backend):
        lines = "".join(f"{number}\n" for number in range(3000))
        done = run("map", "-b", backend, "-j", "2", "jobs:echo", text=lines)
        assert (done.returncode, done.stdout) == (0, lines)


class TestFunction:
    def test_may_be_an_attribute_of_a_class(self, run):
        assert run("map", "jobs:Shelf.put", "x").stdout == "shelved x\n"

    def test_of_the_standard_library(self, run):
        assert run("map", "--json-lines", "math:sqrt", "4", "9").stdout == "2.0\n3.0\n"

    def test_of_the_current_directory_for_the_console_script(self, folder):
        program = (
            "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
            "from corefutures.__main__ import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "map", "jobs:upper", "a"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "A\n", "")


class TestResults:
    def test_come_in_the_items_order_whatever_order_calls_end_in(self, run):
        done = run("map", "-j", "4", "jobs:backwards", "0", "1", "2", "3")
        assert (done.returncode, done.stdout) == (0, "0\n1\n2\n3\n")

    def test_come_as_calls_end_when_unordered(self, start, switchboard):
        process = start("map", "-j", "2", "--unordered", "jobs:telephone", switchboard.port, "quick")
        line = switchboard.answer()
        assert process.stdout.readline().split() == [b"quick"]
        line.sendall(b"slow")
        assert process.stdout.readline().split() == [b"slow"]
        assert process.wait(50) == 0

    def test_are_seen_before_more_input_is_there(self, start, backend):
        process = start("map", "-b", backend, "-j", "1", "jobs:upper", bufsize=0)
        for word in (b"one", b"two", b"three"):
            process.stdin.write(word + b"\n")
            assert process.stdout.readline().split() == [word.upper()]
        process.stdin.close()
        assert process.wait(50) == 0

    def test_earlier_ones_are_seen_while_a_later_call_runs(self, start, switchboard):
        process = start("map", "-j", "1", "jobs:telephone", "first", switchboard.port)
        line = switchboard.answer()
        assert process.stdout.readline().split() == [b"first"]
        line.sendall(b"second")
        assert process.stdout.readline().split() == [b"second"]
        assert process.wait(50) == 0

    def test_without_a_json_form_fail_alone(self, run):
        done = run("map", "--json-lines", "jobs:undecided", '"nan"', '"set"', '"text"')
        assert (done.returncode, done.stdout) == (1, '"text"\n')
        assert "item 1 ('\"nan\"') failed: ValueError" in done.stderr
        assert "item 2 ('\"set\"') failed: TypeError" in done.stderr

    @pytest.mark.parametrize(
        ("function", "reason"), [("unprintable", "RuntimeError: no text"), ("lone", "UnicodeEncodeError")]
    )
    def test_without_a_text_form_fail_alone(self, run, function, reason):
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        done = run("map", f"jobs:{function}", "x", env=environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"item 1 ('x') failed: {reason}" in done.stderr

    def test_whose_reader_leaves_end_the_command(self, start, backend):
        process = start("map", "-b", backend, "-j", "1", "jobs:upper")
        feeding = threading.Thread(target=feed_for_ever, args=(process.stdin,))
        feeding.start()
        assert process.stdout.readline().split() == [b"Y"]
        process.stdout.close()
        status = process.wait(50)
        feeding.join(50)
        assert status == 141
        assert b"Traceback" not in process.stderr.read()

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="platform: no /dev/full")
    def test_that_cannot_be_written_end_the_command(self, start):
        with open("/dev/full", "wb") as full:
            process = start("map", "jobs:upper", "a", stdout=full)
            assert process.wait(50) == 1
        assert process.stderr.read().splitlines() == [
            b"corefutures map: cannot write the results: No space left on device"
        ]


def feed_for_ever(stream):
    try:
        while True:
            stream.write(b"y\n" * 1000)
    except OSError:
        pass


class TestErrors:
    def test_are_reported_and_the_rest_goes_on(self, run, backend):
        done = run("map", "-b", backend, "jobs:picky", "a", "bad1", "b", "bad2", "c")
        assert (done.returncode, done.stdout) == (1, "a\nb\nc\n")
        assert done.stderr.splitlines() == [
            "corefutures map: item 2 ('bad1') failed: ValueError: no bad1",
            "corefutures map: item 4 ('bad2') failed: ValueError: no bad2",
        ]

    def test_show_their_traceback_if_wanted(self, run):
        done = run("map", "--traceback", "jobs:picky", "bad")
        assert done.returncode == 1
        assert "Traceback (most recent call last):" in done.stderr
        assert "in picky" in done.stderr

    @pytest.mark.parametrize("count", [1, 5])
    def test_a_broken_pool_is_told_and_ends_the_command(self, run, count):
        done = run("map", "-b", STANDARD_PROCESSES, "jobs:die", *["x"] * count)
        assert (done.returncode, done.stdout) == (1, "")
        assert "item 1 ('x') failed: BrokenProcessPool" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_broken_pool_does_not_wait_for_more_input(self, start):
        process = start("map", "-b", STANDARD_PROCESSES, "-j", "1", "jobs:die", bufsize=0)
        process.stdin.write(b"first\n")
        assert b"item 1 ('first') failed: BrokenProcessPool" in process.stderr.readline()
        process.stdin.write(b"second\n")
        assert process.wait(50) == 1  # although the input is still open


@posix_signals
class TestInterrupt:
    @pytest.mark.parametrize("whole_group", [False, True], ids=["this process", "as a terminal does"])
    def test_ends_it_while_calls_run(self, start, switchboard, backend, whole_group):
        items = ["first", *[switchboard.port] * 4]
        process = start("map", "-b", backend, "-j", "2", "jobs:telephone", *items, start_new_session=True)
        lines = [switchboard.answer(), switchboard.answer()]
        assert process.stdout.readline() == b"first\n"
        if whole_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        assert process.wait(50) == 130
        for line in lines:
            try:
                assert line.recv(1) == b""  # nobody is left who could hold the other end
            except ConnectionResetError:
                pass

    def test_ends_it_while_it_waits_for_input(self, start):
        process = start("map", "jobs:upper", bufsize=0)
        process.stdin.write(b"a\n")
        assert process.stdout.readline() == b"A\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(50) == 130
        assert process.stderr.read() == b""

    def test_ends_it_while_nobody_reads_its_output(self, start, backend):
        process = start("map", "-b", backend, "-j", "1", "jobs:more_than_a_pipe_takes", "a", bufsize=0)
        assert process.stdout.read(1) == b"y"
        process.send_signal(signal.SIGINT)
        assert process.wait(50) == 130


BAD_INPUT = {
    "no function": (["map"], "MODULE:FUNC"),
    "not of the form": (["map", "jobs", "a"], "a function is named MODULE:FUNC or path/to/file.py:FUNC, not 'jobs'"),
    "two colons": (["map", "jobs:a:b", "a"], "a function is named MODULE:FUNC"),
    "no such module": (["map", "no_jobs:x", "a"], "no module 'no_jobs'"),
    "no such function": (["map", "jobs:uper", "a"], "did you mean 'upper'"),
    "no function but": (["map", "jobs:not_a_function", "a"], "is not a function but of type int"),
    "a module that fails": (["map", "failing:x", "a"], "importing 'failing:x' failed: ZeroDivisionError"),
    "a module that exits": (["map", "exiting:x", "a"], "importing 'exiting:x' failed: SystemExit"),
    "no such backend": (["map", "-b", "thraed", "jobs:upper", "a"], "did you mean 'thread'"),
    "no such target": (["map", "-b", "no_such:Pool", "jobs:upper", "a"], "no module 'no_such'"),
    "bad target": (["map", "-b", "a:b:c", "jobs:upper", "a"], "package.module:attr"),
    "no workers": (["map", "-j", "0", "jobs:upper", "a"], "max_workers"),
    "no number": (["map", "-j", "many", "jobs:upper", "a"], "many"),
    "no such option": (
        ["map", "-o", "max_worker=1", "jobs:upper", "a"],
        "no option 'max_worker'; did you mean",
    ),
    "option without value": (["map", "-o", "max_workers", "jobs:upper", "a"], "key=value"),
    "option twice": (["map", "-o", "max_workers=1", "-o", "max_workers=2", "jobs:upper", "a"], "given twice"),
    "workers twice": (["map", "-j", "1", "-o", "max_workers=2", "jobs:upper", "a"], "the same option"),
    "wrong value": (["map", "-o", "initializer=3", "jobs:upper", "a"], "initializer"),
    "no start method": (
        ["map", "-o", "mp_context=teleport", "jobs:upper", "a"],
        "no start method 'teleport'",
    ),
    "unknown flag": (["map", "--fast", "jobs:upper", "a"], "--fast"),
    "abbreviated flag": (["map", "--unord", "jobs:upper", "a"], "--unord"),
    "empty batches": (["map", "--chunksize", "0", "jobs:upper", "a"], "greater than 0, not '0'"),
    "no time": (["map", "--timeout", "0", "jobs:upper", "a"], "greater than 0, not '0'"),
    "a limit for batches": (["map", "--timeout", "1", "--chunksize", "2", "jobs:upper", "a"], "leave out --chunksize"),
}


@pytest.mark.parametrize(("arguments", "phrase"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_sentence_and_status_2(run, folder, arguments, phrase):
    (folder / "failing.py").write_text("1 / 0", encoding="utf-8")
    (folder / "exiting.py").write_text("raise SystemExit('bye')", encoding="utf-8")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert phrase in done.stderr
    assert done.stderr.startswith("corefutures map: ")
    assert len(done.stderr.splitlines()) == 1


def test_options_reach_the_backend(run):
    done = run("map", "-o", "thread_name_prefix=crew", "-o", "max_workers=1", "jobs:upper", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "A\n", "")


def test_a_start_method_is_an_option(run):
    options = ["-b", STANDARD_PROCESSES, "-j", "1", "-o", "mp_context=spawn"]
    assert run("map", *options, "jobs:upper", "a").stdout == "A\n"


class Output:
    """Standard output that counts lines."""

    lines = 0

    def isatty(self):
        return False

    def write(self, text):
        self.lines += text.count("\n")

    def flush(self):
        pass


def run_in_process(executor, function, blocks, output, **settings):
    from corefutures_tools._batch import run_batch
    from corefutures_tools._commands import map as command
    from corefutures_tools._commands.status_line import StatusLine

    call = functools.partial(run_batch, function, as_json=False, tracebacks=False)
    command._Run(executor, call, blocks, command._Results(output, StatusLine(None, None)), **settings).run()


@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_memory_is_bounded_by_the_window(monkeypatch, chunksize):
    from corefutures_tools._commands import map as command

    monkeypatch.setattr(command, "WINDOW", 16)
    output = Output()
    ahead = []

    def blocks():
        for number in range(0, 2000, 4):
            ahead.append(number - output.lines)
            yield [str(number + each) for each in range(4)]

    with corefutures.create_executor("thread", max_workers=2) as executor:
        run_in_process(executor, str, blocks(), output, chunksize=chunksize)
    assert output.lines == 2000
    assert max(ahead) <= 16


class Recorder:
    """An executor that notes how many items each call had."""

    def __init__(self, executor):
        self._max_workers = 2
        self._executor = executor
        self.sizes = []

    def submit(self, call, items, **settings):
        self.sizes.append(len(items))
        return self._executor.submit(call, items, **settings)


class TestBatches:
    """Items that cost next to nothing travel together."""

    def run(self, function, items, **settings):
        output = Output()
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            recorder = Recorder(executor)
            run_in_process(recorder, function, iter([items]), output, **settings)
        assert output.lines == len(items)
        return recorder.sizes

    def test_grow_with_what_is_measured(self):
        sizes = self.run(str, [str(number) for number in range(10_000)])
        assert sizes[0] == 1
        assert len(sizes) < 5000

    def test_have_one_item_while_a_call_takes_long(self):
        assert set(self.run(takes_long, ["x"] * 20)) == {1}

    def test_are_as_large_as_is_said(self):
        assert self.run(str, ["x"] * 10, chunksize=4) == [4, 4, 2]

    def test_send_back_what_stands_behind_a_call_that_takes_long(self):
        from corefutures_tools._batch import run_batch

        _, outcomes = run_batch(takes_long, ["a", "b"], as_json=False, tracebacks=False, seconds=0.001)
        assert outcomes == ["a"]
        sizes = self.run(takes_long_at_last, [*["x"] * 5000, *["long"] * 6])
        assert sum(sizes) >= 5006

    def test_leave_the_items_around_a_failed_one_alone(self, run, backend):
        done = run("map", "-b", backend, "--chunksize", "5", "jobs:picky", "a", "bad1", "b", "bad2", "c")
        assert (done.returncode, done.stdout) == (1, "a\nb\nc\n")
        assert done.stderr.count("failed: ValueError: no bad") == 2

    def test_that_are_lost_fail_item_by_item(self, run):
        done = run("map", "-b", STANDARD_PROCESSES, "--chunksize", "2", "-j", "1", "jobs:die", "x", "y")
        assert (done.returncode, done.stdout) == (1, "")
        for item in ("item 1 ('x')", "item 2 ('y')"):
            assert f"{item} failed: BrokenProcessPool" in done.stderr

    def test_keep_the_order_whatever_their_sizes(self, run, backend):
        lines = "".join(f"{number}\n" for number in range(3000))
        for size in ("1", "7", "10000"):
            done = run("map", "-b", backend, "-j", "2", "--chunksize", size, "jobs:echo", text=lines)
            assert (done.returncode, done.stdout) == (0, lines)


def takes_long(text):
    end = time.perf_counter() + 0.005
    while time.perf_counter() < end:
        pass
    return text


def takes_long_at_last(text):
    return takes_long(text) if text == "long" else text


def test_windows_lines_have_no_carriage_return(folder):
    for command, seen in (("map", "'A'\n'B '\n"), ("compare", "")):
        more = ["--seconds", "0.01", "-b", "thread", "--json", "-"] if command == "compare" else []
        done = subprocess.run(
            [sys.executable, "-m", "corefutures", command, *more, "jobs:shown"],
            input=b"A\r\nB \r\n",
            capture_output=True,
            cwd=folder,
            timeout=50,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert b"\\r" not in done.stdout
        assert done.stdout.decode().replace("\r\n", "\n").endswith(seen)


class TestTimeout:
    def test_ends_one_call(self, run):
        options = ["-b", "process", "-o", "mp_context=spawn", "-j", "1", "--timeout", "0.5"]
        done = run("map", *options, "jobs:sleep_if_long", "short", "long", "short")
        assert (done.returncode, done.stdout) == (1, "short\nshort\n")
        assert "item 2 ('long') failed: TimeoutError" in done.stderr

    @pytest.mark.parametrize("backend", ["thread", "concurrent.futures:ThreadPoolExecutor"])
    def test_is_refused_where_no_call_can_be_stopped(self, run, backend):
        done = run("map", "-b", backend, "--timeout", "1", "jobs:upper", "a")
        assert (done.returncode, done.stdout) == (2, "")
        assert "can't limit how long a call runs" in done.stderr
        assert "process" in done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestFile:
    """A function may be named by its file."""

    def test_in_any_folder(self, run, backend, folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "tools.py").write_text("import helper\ndef up(text): return helper.up(text)\n")
        (folder / "deep" / "helper.py").write_text("def up(text): return text.upper()\n")
        for name in ("deep/tools.py", str(folder / "deep" / "tools.py")):
            done = run("map", "-b", backend, f"{name}:up", "a", "b")
            assert (done.returncode, done.stdout, done.stderr) == (0, "A\nB\n", "")

    def test_of_a_package(self, run, folder):
        (folder / "deep" / "pack").mkdir(parents=True)
        (folder / "deep" / "pack" / "__init__.py").write_text("WORD = 'packed'\n")
        (folder / "deep" / "pack" / "tools.py").write_text("from . import WORD\ndef word(text): return WORD\n")
        assert run("map", "deep/pack/tools.py:word", "a").stdout == "packed\n"

    def test_is_compared_too(self, run, folder):
        done = run("compare", "-b", "thread", "--seconds", "0.01", f"{folder / 'jobs.py'}:upper", "a")
        assert "jobs:upper" in done.stdout
        assert done.returncode == 0

    @pytest.mark.parametrize(
        ("name", "phrase"),
        [
            ("no/such.py:x", "there is no file"),
            ("my-jobs.py:x", "'my-jobs' is no name of a module"),
            ("time.py:x", "Python has another 'time'"),
            ("./jobs.py", "path/to/file.py:FUNC"),
        ],
    )
    def test_that_cannot_be_imported_is_one_sentence(self, run, folder, name, phrase):
        for module in ("my-jobs.py", "time.py"):
            (folder / module).write_text("def x(text): return text\n")
        done = run("map", name, "a", env={**os.environ, "PYTHONSAFEPATH": "1"})
        assert (done.returncode, done.stdout) == (2, "")
        assert phrase in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["map", "compare"])
@pytest.mark.parametrize("function", ["coroutine", "generator", "Callable"])
def test_coroutine_functions_are_refused(run, command, function):
    done = run(command, f"jobs:asynchronous_{function}", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is a coroutine function" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_coroutine_that_comes_as_a_result_is_an_error(run):
    done = run("map", "jobs:coroutine_in_disguise", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert "item 1 ('a') failed: TypeError: the function returned a coroutine" in done.stderr
    assert "never awaited" not in done.stderr


def test_results_and_progress_share_a_terminal(monkeypatch):
    from corefutures_tools._commands import map as command, status_line

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(status_line, "_PAUSE", 0)
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    results = command._Results(screen, status_line.StatusLine(screen, 2))
    for number in (1, 2):
        results.add([(number, "x", f"result {number}")])
    results.finish()
    lines = screen.getvalue().split("\n")
    assert [line.rpartition("\r")[2].removeprefix("\x1b[K") for line in lines] == ["result 1", "result 2", ""]
    assert "1 of 2 done" in lines[1]
    assert "2 of 2 done" in lines[2]
