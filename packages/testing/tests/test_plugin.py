"""The pytest plugin: the fixture, its report, and the options for leaks and chaos, in sessions of their own."""

from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "corefutures_testing.plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def without_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, program: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(program)
    return pytester.runpytest_inprocess(*PLUGIN, *options)


def run_alone(pytester: pytest.Pytester, program: str, *options: str) -> pytest.RunResult:
    """Run a session in a process of its own: it changes classes, or looks at what is imported."""
    pytester.makepyfile(program)
    return pytester.runpytest_subprocess(*PLUGIN, *options)


ORDER = """
    import pytest

    def test_order(executor):
        order = []
        list(executor.map(order.append, range(6)))
        assert order == list(range(6))

    @pytest.mark.corefutures(max_workers=1, seed=3, losses=1)
    class TestMarked:
        @pytest.mark.corefutures(replay="")
        def test_marker(self, executor):
            assert executor._max_workers == 1
            order = []
            list(executor.map(order.append, range(6)))
            assert order == list(range(6))
"""


def test_the_seed_of_a_failure_repeats_it(pytester: pytest.Pytester) -> None:
    first = run(pytester, ORDER, "--corefutures-seed=7")
    first.assert_outcomes(passed=1, failed=1)
    output = first.stdout.str()
    assert "--corefutures-seed=7" in output
    assert "call 1 (list.append) is submitted" in output
    failure = r"assert \[.*\] == \[0, 1"
    replay = re.search(r"--corefutures-replay=\S+", output)
    assert replay is not None
    again = run(pytester, ORDER, replay[0], "-k", "order")
    again.assert_outcomes(failed=1)
    found = [re.search(failure, text) for text in (output, again.stdout.str())]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][0] == found[1][0]


def test_workers_of_xdist_have_the_seed_of_the_session(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREFUTURES_SEED", "7")  # as such a worker inherits it
    found = run(pytester, ORDER, "-k", "order")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*repeat it with --corefutures-seed=7,*"])


def test_a_schedule_that_is_none_is_refused(pytester: pytest.Pytester) -> None:
    refused = run(pytester, ORDER, "--corefutures-replay=a,b")
    refused.stderr.fnmatch_lines(["ERROR: --corefutures-replay: a schedule to replay is a text such as*not 'a,b'"])


def test_explored_tests_have_fixtures_and_report_the_schedule(pytester: pytest.Pytester) -> None:
    program = """
        import corefutures_testing

        @corefutures_testing.explore(schedules=200, patience=60)
        def test_race(executor, tmp_path):
            order = []
            list(executor.map(order.append, range(3)))
            assert tmp_path.exists()
            assert order == [0, 1, 2]
    """
    found = run(pytester, program, "--corefutures-seed=11")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        ["*corefutures: schedule * of 200 fails, seed 11; the shortest*", "*--corefutures-replay=*"]
    )
    replay = re.search(r"--corefutures-replay=\S+", found.stdout.str())
    assert replay is not None
    again = run(pytester, program, replay[0])
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*corefutures: the schedule '*' fails*"])


LEAKS = """
    import concurrent.futures, threading
    import corefutures
    import pytest

    opened = threading.Event()

    @pytest.fixture(scope="module")
    def shared():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool

    @pytest.fixture
    def own():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool

    def test_clean(shared, own):
        assert shared.submit(int).result() == own.submit(int).result() == 0

    def test_dropped():
        concurrent.futures.ThreadPoolExecutor(1).submit(int).result()

    kept = []

    def test_views():
        with corefutures.ThreadPoolExecutor(1) as pool:
            kept.extend([pool.options(name="a view"), corefutures.retrying(pool)])
            assert [view.submit(int).result() for view in kept] == [0, 0]

    def test_pool():
        kept.append(concurrent.futures.ThreadPoolExecutor(1, "kept"))
        kept[-1].submit(int).result()

    def start_a_call(pool):
        kept.append(pool.submit(opened.wait))

    def test_call():
        pool = concurrent.futures.ThreadPoolExecutor(1, "calling")
        kept.append(pool)
        start_a_call(pool)
        pool.shutdown(wait=False)

    def test_end():
        opened.set()
"""


def test_leaks_are_found_with_the_stacks_of_their_making(pytester: pytest.Pytester) -> None:
    found = run_alone(pytester, LEAKS, "--corefutures-leaks")
    found.assert_outcomes(passed=6, errors=2)
    found.stdout.fnmatch_lines(
        [
            "*corefutures: the test leaves executors behind*",
            "*ThreadPoolExecutor was not shut down, and has the workers kept_0; it was made at*",
            "*in test_pool*",
            "*corefutures: the test leaves executors behind*",
            "*ThreadPoolExecutor was shut down, and still has 1 unfinished call and the workers calling_0; it was*",
            "*in test_call*",
            "*its call <Future * was submitted at*",
            "*in start_a_call*",
        ]
    )
    assert "_pytest/" not in "".join(line for line in found.outlines if "File " in line)


CHAOS = """
    import concurrent.futures
    import corefutures
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_threads(number):
        with [concurrent.futures, corefutures][number % 2].ThreadPoolExecutor(1) as pool:
            outcomes = [future.exception() for future in [pool.submit(int) for _ in range(20)]]
            print([type(outcome).__name__ for outcome in outcomes])
            assert not any(outcomes)

    def test_processes():
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            for _ in range(40):
                pool.submit(int).result()
"""


def test_chaos_is_seeded_and_told(pytester: pytest.Pytester) -> None:
    options = ("--corefutures-chaos=0.2", "--corefutures-seed=1")
    first = run_alone(pytester, CHAOS, *options)
    first.assert_outcomes(passed=1, failed=4)  # the calls of one test were delayed alone
    first.stdout.fnmatch_lines(["corefutures chaos: --corefutures-chaos=0.2 --corefutures-seed=1"])
    told = [line for line in first.outlines if re.match(r"call \d+ of the test, int, was ", line)]
    assert any("made to fail" in line for line in told)
    assert any("delayed" in line for line in told)
    assert any("killed with its worker" in line for line in told)
    kinds = [line for line in first.outlines if line.startswith("['")]
    assert {"ChaosError", "WorkerLostError"} <= set(re.findall(r"\w+", "".join(kinds)))
    again = run_alone(pytester, CHAOS, *options, "-k", "threads and 2")
    assert {line for line in again.outlines if line.startswith("['")} <= set(kinds)


def test_without_options_nothing_is_imported(pytester: pytest.Pytester) -> None:
    program = """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.startswith("corefutures")}
            assert {name for name in ours if name.startswith("corefutures_testing")} == {
                "corefutures_testing", "corefutures_testing.plugin"
            }
            assert "corefutures_pools" not in ours
    """
    run_alone(pytester, program).assert_outcomes(passed=1)
