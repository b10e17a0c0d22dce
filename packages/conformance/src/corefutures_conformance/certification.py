"""Certifies one target: finds out what it can do, runs the rules in order, gives up after too many hangs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corefutures_conformance import known_failures
from corefutures_conformance.capabilities import PROBED, Profile, declared_by
from corefutures_conformance.contract.versions import CURRENT, ContractVersion, contract_version
from corefutures_conformance.rules import Rule
from corefutures_conformance.runner import Runner, RunnerError
from corefutures_conformance.target import Target
from corefutures_conformance.verdict import Report, Result, judge, not_run

if TYPE_CHECKING:
    from corefutures.backend import Backend

_NAMED_TARGET = str(Path(__file__).with_name("named_target.py"))

MOST_OVERDUE = 10
"""After so many rules that are overdue and decide, the rest are not run."""


class Watcher:
    """Told of a certification while it runs; this one does nothing about it."""

    def began(self, report: Report) -> None:
        """Take note that the target and the place are known."""

    def learned(self, report: Report) -> None:
        """Take note that the target's capabilities are known; the first rule is next."""

    def judged(self, result: Result) -> None:
        """Take note of a rule that was run."""


def certify(
    target: Target,
    rules: Sequence[Rule],
    *,
    deadline: float = 30.0,
    repeat: int = 1,
    given: Mapping[str, bool] | None = None,
    strict: bool = False,
    selection: str = "",
    contract: str = CURRENT,
    seed: int | None = None,
    probe_all: bool = False,
    expected_failures: Mapping[str, str] | None = None,
    watcher: Watcher | None = None,
    runner: Runner | None = None,
) -> Report:
    """Run `rules` on `target`.

    Args:
        target: what is certified.
        rules: the rules to run, in this order.
        deadline: seconds for each rule.
        repeat: how often each rule runs; its first run that is not passed counts.
        given: capabilities that the caller declares.
        strict: whether SHOULD counts like MUST.
        selection: how the rules were selected, for the report.
        contract: the version of the contract that `rules` are taken from.
        seed: where random histories start; None starts them where every run without a seed does.
        probe_all: whether to probe also what is declared, for the report.
        expected_failures: rule id → reason; one that passes is an error. By default, those that are known of the
            standard library or declared by the target: these may pass, since a later release may have mended them.
        watcher: told what is found, as it is found.
        runner: one to use again, made by `runner_of_a_named_target`; the caller closes it.

    Raises:
        RunnerError: when the rules could not be run at all.
        TargetError: when there is no such target.
    """
    watcher = watcher or Watcher()
    backend = target.backend()
    declared = declared_contract(backend)
    profile = Profile()
    if backend is not None:
        profile.learn(declared_by(backend.capabilities), "declared")
    profile.learn(given or {}, "given")
    if expected_failures is None:
        expected: Mapping[str, str] = {**known_failures.failures(target.name), **target.expected_failures()}
    else:
        expected = expected_failures
    report = Report(
        target=target.name,
        environment=environment(target),
        contract=contract_version(contract),
        declared=declared,
        strict=strict,
        selection=selection,
        seed=seed,
    )
    watcher.began(report)
    own = runner_of_a_named_target() if runner is None else None
    used = runner or own
    assert used is not None
    used.set_target(target.to_text(), deadline, seed)
    try:
        keys = {key.rpartition("::")[2]: key for key in used.collected()}
        learn(used, keys, profile, probe_all=probe_all)
        report.profile = profile
        watcher.learned(report)
        run_rules(
            used,
            keys,
            rules,
            report,
            expected=expected,
            exact=expected_failures is not None,
            repeat=repeat,
            watcher=watcher,
        )
    except KeyboardInterrupt:
        report.interrupted = True
        finished = {result.rule.id for result in report.results}
        report.results += [
            not_run(rule, "interrupted", contract=report.owes(rule)) for rule in rules if rule.id not in finished
        ]
    finally:
        if own is not None:
            own.close()
    return report


def declared_contract(backend: Backend | None) -> ContractVersion | None:
    """Return the version of the contract that a backend declares, None if it declares none."""
    if backend is None or backend.contract is None:
        return None
    return contract_version(".".join(map(str, backend.contract)))


def try_out(target: Target, *, deadline: float = 30.0) -> Runner:
    """Let the target run one call: where that fails, every rule would, and say nothing about it.

    Args:
        target: what is to be certified.
        deadline: seconds for it.

    Returns:
        The runner, whose process may go on with the rules; the caller closes it.

    Raises:
        RunnerError: with the reason, when it runs none.
    """
    runner = runner_of_a_named_target()
    try:
        runner.set_target(target.to_text(), deadline)
        try_call(runner, {key.rpartition("::")[2]: key for key in runner.collected()})
    except BaseException as error:
        runner.close()
        if isinstance(error, RunnerError):
            raise RunnerError(f"{target.name}: {error}") from error
        raise
    return runner


def try_call(runner: Runner, keys: Mapping[str, str]) -> None:
    """Let what the runner has as its target run one call.

    Raises:
        RunnerError: with the reason, when it runs none.
    """
    record = runner.run(keys["probe_runs_a_call"])
    if record.outcome != "passed":
        raise RunnerError(f"no rule was run, because not even one call was: {' '.join(record.message.split())}")


def runner_of_a_named_target() -> Runner:
    """Make a runner for targets that are named, not tested by a class; set its target before use."""
    # rootdir: a folder without any settings of pytest's
    return Runner(
        [_NAMED_TARGET, "-c", os.devnull, "--rootdir", os.path.dirname(_NAMED_TARGET), "--import-mode=importlib"],
        deadline=30.0,
    )


def learn(runner: Runner, keys: Mapping[str, str], profile: Profile, *, probe_all: bool = False) -> None:
    """Probe what is not declared, or all; tell the runner process what is known: a declaration goes before a probe."""
    for name in PROBED:
        if name in profile.values and not probe_all:
            continue
        record = runner.run(keys[f"probe_{name}"])
        if record.outcome == "passed":
            profile.probed[name] = record.value is True
        if name in profile.values:
            continue
        if record.outcome == "passed":
            profile.learn({name: profile.probed[name]}, "probed")
        else:
            profile.learn({name: False}, f"assumed: its probe ended as {record.outcome}: {record.message}")
    profile.complete()
    runner.set_capabilities(profile.values)


def run_rules(
    runner: Runner,
    keys: Mapping[str, str],
    rules: Sequence[Rule],
    report: Report,
    *,
    expected: Mapping[str, str],
    exact: bool,
    repeat: int,
    watcher: Watcher,
) -> None:
    """Run the rules in order into `report`; `exact` says whether what is expected to fail must fail."""
    overdue = 0
    for rule in rules:
        contract = report.owes(rule)
        if overdue >= MOST_OVERDUE:
            report.gave_up = True
            result = not_run(rule, f"{overdue} rules were overdue: the rest are not run", contract=contract)
        else:
            runs = 0
            while True:
                runs += 1
                key = keys[rule.method]
                record = runner.run(key, patience=rule.patience)
                reason = expected.get(rule.id)
                if record.outcome == "passed" and not exact:
                    reason = None
                result = judge(rule, record, contract=contract, reason=reason)
                if record.outcome != "passed" or runs >= repeat:
                    break
            overdue += result.outcome == "overdue" and result.decides(strict=report.strict)
        report.results.append(result)
        watcher.judged(result)


def environment(target: Target) -> dict[str, str]:
    """Return what the header of a report shows about the target and the place."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    found = {
        "distribution": target.distribution(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": "on" if gil else "off",
        "platform": platform.platform(),
        "options": target.settings(),
    }
    return {key: value for key, value in found.items() if value}
