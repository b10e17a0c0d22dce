"""Finds the options and capabilities without which a target keeps a rule that it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from corefutures_conformance.certification import certify, runner_of_a_named_target
from corefutures_conformance.rules import Rule
from corefutures_conformance.target import Target
from corefutures_conformance.verdict import Report


def bisect(target: Target, rule: Rule, *, given: Mapping[str, bool], deadline: float) -> Iterator[str]:
    """Run a rule with fewer options, then with other capabilities; yield the findings, one in a line.

    An option is left out for good if the rule is broken without it: the options that remain are all needed.

    Args:
        target: The target that breaks the rule.
        rule: The rule.
        given: Capabilities that the caller declares.
        deadline: Seconds for each run.
    """
    runner = runner_of_a_named_target()

    def run(options: Mapping[str, object], capabilities: Mapping[str, bool]) -> Report:
        return certify(
            Target(target.name, options), [rule], deadline=deadline, given=capabilities, expected_failures={},
            probe_all=True, runner=runner,
        )  # fmt: skip

    try:
        yield from _bisected(target, given, run)
    finally:
        runner.close()


def _bisected(
    target: Target,
    given: Mapping[str, bool],
    run: Callable[[Mapping[str, object], Mapping[str, bool]], Report],
) -> Iterator[str]:
    first = run(target.options, given)
    yield f"with all options: {_told(first)}"
    if not first.results[0].bad:
        return
    options = dict(target.options)
    yield from _without_options(options, lambda left: run(left, given))
    for name, declared in first.profile.declared.items():
        probed = first.profile.probed.get(name, declared)
        if probed is not declared:
            yield (
                f"{name} is declared {_word(declared)} and probed {_word(probed)}; taken as {_word(probed)}: "
                + _told(run(options, {**given, name: probed}))
            )


def _without_options(options: dict[str, object], run: Callable[[Mapping[str, object]], Report]) -> Iterator[str]:
    """Take out of `options` what makes no difference; yield a line for each look."""
    for name in list(options):
        left = {key: value for key, value in options.items() if key != name}
        report = run(left)
        yield f"without {name}: {_told(report)}"
        if report.results[0].bad:
            del options[name]
    if options:
        yield f"the rule is broken only with {' and '.join(f'{name}={value!r}' for name, value in options.items())}"
    else:
        yield "the rule is broken without any option"


def _told(report: Report) -> str:
    result = report.results[0]
    return f"{result.outcome}: {result.message}" if result.message else result.outcome


def _word(value: bool) -> str:
    return "yes" if value else "no"
