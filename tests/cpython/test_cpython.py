"""CPython's own test-suite of `concurrent.futures`, from the running interpreter, with our classes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import NoReturn

import pytest

from .conftest import TALLY, missing_suite, ships_suite
from .driver import GRACE, LIMIT, VERSION, Case, Exemption, Suite, find_cases, read_exemptions


class CaseFailed(AssertionError):
    """A case of CPython's suite failed; what is left out is expected to."""


class WrongReason(AssertionError):
    """A case that is left out failed, but not as the list says."""


EXEMPTIONS = [entry for entry in read_exemptions() if entry.applies(VERSION)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    if not ships_suite():
        skip = pytest.mark.skip(reason=missing_suite())
        metafunc.parametrize(("case", "exemption"), [pytest.param(None, None, marks=skip, id="no suite")])
        return
    cases = find_cases()
    tally = metafunc.config.stash[TALLY]
    for case in cases:
        tally[case.kind]["collected"] += 1
    for entry in EXEMPTIONS:
        if not any(map(entry.matches, cases)):
            python = platform.python_version()
            raise pytest.UsageError(f"left_out.toml: {entry.cases!r} matches no case on Python {python}")
    kinds = metafunc.config.getoption("--kind", default=[])
    if unknown := [kind for kind in kinds if not any(is_kind(case, kind) for case in cases)]:
        raise pytest.UsageError(f"--kind {unknown[0]}: there is none; there are {', '.join(sorted(tally))}")
    metafunc.parametrize(
        ("case", "exemption"),
        [as_parameters(case) for case in cases if not kinds or any(is_kind(case, kind) for kind in kinds)],
    )


def is_kind(case: Case, kind: str) -> bool:
    return case.kind == kind or case.kind.startswith(f"{kind}-")


def as_parameters(case: Case) -> object:
    matching = [entry for entry in EXEMPTIONS if entry.matches(case)]
    if len(matching) > 1:
        raise pytest.UsageError(f"left_out.toml names {case.name} more than once")
    if not matching:
        return pytest.param(case, None, id=case.name)
    entry = matching[0]
    reason = f"{entry.because}: {entry.reason}"
    mark = pytest.mark.xfail(raises=CaseFailed, strict=not entry.unsteady, reason=reason)
    return pytest.param(case, entry, marks=mark, id=case.name)


@pytest.fixture(scope="module")
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    suite = Suite([given["case"] for given in parameters if isinstance(given.get("case"), Case)])
    yield suite
    suite.abandon()


@pytest.mark.timeout(LIMIT + 4 * GRACE)
def test_case(case: Case, exemption: Exemption | None, suite: Suite, pytestconfig: pytest.Config) -> None:
    outcome = suite.outcome_of(case)
    tally = pytestconfig.stash[TALLY][case.kind]
    if outcome.result == "skipped":
        tally["not installed" if outcome.detail.endswith("is not installed") else "skipped by CPython"] += 1
        pytest.skip(outcome.detail)
    if outcome.result == "failed" and exemption is not None:
        tally["left out"] += 1
        fail_as_expected(outcome.detail, exemption)
    tally[outcome.result if outcome.result == "passed" else "failed"] += 1
    if outcome.result != "passed":
        pytest.fail(f"{outcome.result}: {outcome.detail}", pytrace=False)


def fail_as_expected(detail: str, exemption: Exemption) -> NoReturn:
    if exemption.shows not in detail:
        raise WrongReason(f"left_out.toml says that it fails with {exemption.shows!r}, but:\n{detail}")
    raise CaseFailed(detail)


@pytest.mark.timeout(LIMIT + 4 * GRACE)
def test_nothing_goes_wrong_between_the_cases(suite: Suite) -> None:
    suite.finish()
    assert not suite.strays, "\n".join(suite.strays)


def test_each_entry_of_the_list_has_its_grounds() -> None:
    for entry in read_exemptions():
        assert entry.because in Exemption.GROUNDS, entry
        assert entry.reason.strip(), entry
        assert entry.shows.strip(), entry
