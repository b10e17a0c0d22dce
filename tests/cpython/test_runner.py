"""The runner and the driver notice what they are there to notice: a planted suite, a case for each thing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import missing_suite, ships_suite
from .driver import Case, Exemption, Suite

pytestmark = pytest.mark.skipif(not ships_suite(), reason=missing_suite())

EXPECTED = {
    "Planted.test_sound": ("passed", ""),
    "Planted.test_sound_with_script": ("passed", ""),
    "Planted.test_uses_the_standard_pool": ("failed", "standard ThreadPoolExecutor.__init__"),
    "Planted.test_uses_no_pool": ("failed", "nothing shows that our classes took part"),
    "Planted.test_script_uses_no_pool": ("failed", "our classes took no part in a script"),
    "Planted.test_script_is_out_of_reach": ("failed", "a script that the replacement did not reach"),
    "Planted.test_fails": ("failed", "AssertionError: as planted"),
    "Planted.test_fails_in_subtest": ("failed", "AssertionError: as planted"),
    "Planted.test_passes_unexpectedly": ("failed", "CPython expects the case to fail"),
    "Planted.test_is_skipped": ("skipped", "as planted"),
    "Planted.test_leaves_a_thread": ("failed", "left threads or processes behind"),
    "PlantedHang.test_hangs": ("overdue", "in test_hangs"),
    "PlantedHang.test_after_the_hang": ("passed", ""),
    "PlantedCrash.test_crashes": ("crashed", "has ended"),
}


@pytest.fixture(scope="module")
def planted() -> Iterator[Suite]:
    suite = Suite([Case(name, "thread") for name in EXPECTED], name="planted_suite", limit=5)
    yield suite
    suite.abandon()


@pytest.mark.parametrize("name", EXPECTED)
def test_planted(name: str, planted: Suite) -> None:
    result, phrase = EXPECTED[name]

    outcome = planted.outcome_of(Case(name, "thread"))

    assert outcome.result == result, outcome.detail
    assert phrase in outcome.detail


def test_failure_between_the_cases() -> None:
    case = Case("PlantedSetUp.test_sound", "thread")
    suite = Suite([case], name="planted_suite", limit=5)

    assert suite.outcome_of(case).result == "passed"
    assert [stray for stray in suite.strays if "RuntimeError: as planted" in stray]


def test_entry_matches_by_pattern() -> None:
    entry = Exemption("test_deadlock.ProcessPool*.test_x", "E4", "phrase", "reason")

    assert entry.matches(Case("test_deadlock.ProcessPoolForkDeadlockTest.test_x", "process-fork"))
    assert not entry.matches(Case("test_deadlock.ThreadPoolDeadlockTest.test_x", "thread"))


@pytest.mark.parametrize(
    ("version", "applies"),
    [
        ((3, 12, 9), False),
        ((3, 13, 4), False),
        ((3, 13, 5), True),
        ((3, 14, 0), False),
        ((3, 14, 2), True),
        ((3, 15, 0), True),
    ],
)
def test_entry_is_for_the_versions_that_have_the_case(version: tuple[int, ...], applies: bool) -> None:
    entry = Exemption("test_x", "E4", "phrase", "reason", since=("3.13.5", "3.14.2"))

    assert entry.applies(version) is applies
