"""The conformance kit on the simulated executor: some of each chapter; all of it with COREFUTURES_KIT_EVERYTHING=1.

Rules hold calls at gates of their own, which the simulation takes for calls that block: it then lets them be.
"""

from __future__ import annotations

import os

import pytest

pytest.importorskip("corefutures_conformance", reason="needs the capability to import corefutures-conformance")

from corefutures_conformance.certification import certify
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.target import Target

EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
CAPABILITIES = {
    "same_process": True,
    "shares_memory": True,
    "kills_running": True,
    "asks_running": True,
    "runs_in_place": True,
}
#: Advice that can't be kept: the lock of a simulation may be held by a thread that a finaliser has interrupted.
NOT_KEPT = {"concurrency.a_finaliser_holds_up_no_call"}


@pytest.mark.timeout(600)
def test_in_the_order_of_submission() -> None:
    rules = [rule for rule in RULES.values() if rule.id not in NOT_KEPT]
    target = Target("corefutures_testing:SimulatedExecutor", {"patience": 0.002, "replay": ""})
    report = certify(target, rules if EVERYTHING else rules[::40], given=CAPABILITIES)
    assert {result.rule.id: result.message for result in report.results if result.bad} == {}
    assert report.verdict == "conformant"


@pytest.mark.timeout(600)
def test_in_a_random_order() -> None:
    rules = list(RULES.values())
    target = Target("corefutures_testing:SimulatedExecutor", {"patience": 0.002, "seed": 1})
    report = certify(target, rules if EVERYTHING else rules[20::40], given=CAPABILITIES)
    # Rules on the order of calls are advice.
    broken = [result for result in report.results if result.bad and result.decides(strict=False)]
    assert {result.rule.id: result.message for result in broken} == {}
    assert report.verdict == "conformant"
