"""The proof of the opposite: correct executors are not accused, and our own keep their contract.

`make test` certifies what is quick; with COREFUTURES_KIT_EVERYTHING=1 (`make certify`) every executor and start method.
"""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import pytest

from corefutures import backends
from corefutures_conformance.certification import certify
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule
from corefutures_conformance.target import Target

EVERYTHING = os.environ.get("COREFUTURES_KIT_EVERYTHING") == "1"
START_METHODS = get_all_start_methods() if EVERYTHING else [os.environ.get("COREFUTURES_TEST_START_METHOD") or "spawn"]
CORRECT = ["concurrent.futures:ThreadPoolExecutor", "reference:ThreadExecutor"]  # by turns, from Python to Python
needs_time = pytest.mark.skipif(
    not EVERYTHING, reason="needs the time of `make certify` (capability: COREFUTURES_KIT_EVERYTHING=1)"
)


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        name not in backends(), reason=f"needs the capability to import the plugin corefutures-{name}"
    )


def kept(name: str, rules: Sequence[Rule] = tuple(RULES.values()), deadline: float = 30.0, **options: Any) -> None:
    """Certify a target and fail with all that it broke."""
    target = Target(name, options)
    with concurrent.futures.ThreadPoolExecutor(2) as halves:  # side by side: the rules mostly wait
        reports = list(halves.map(lambda first: certify(target, rules[first::2], deadline=deadline), range(2)))
    broken = [
        f"{result.rule.id}: {result.message}"
        for report in reports
        for result in report.results
        if result.bad and result.decides(strict=False)
    ]
    verdicts = {report.verdict for report in reports}
    assert verdicts <= {"conformant", "conformant-with-exceptions"}, "\n".join([*verdicts, *broken])


@pytest.mark.timeout(240)
@installed("thread")
def test_our_thread_backend() -> None:
    kept("thread")


@pytest.mark.timeout(400)
@installed("process")
@pytest.mark.parametrize("method", START_METHODS)
def test_our_process_backend(method: str) -> None:
    if method not in get_all_start_methods():
        pytest.skip(f"the platform has no start method {method}")
    kept("process", mp_context=get_context(method))


@pytest.mark.timeout(400)
@installed("interpreter")
def test_our_interpreter_backend() -> None:
    status = backends()["interpreter"]
    if sys.version_info < (3, 14):
        pytest.skip(f"needs Python 3.14: the backend is {status.state}")
    kept("interpreter")


#: In each interpreter but the main one: refuses what the kit's calls are made of, as an extension module would.
REFUSING = """
import sys

try:
    import _interpreters
except ImportError:
    pass
else:
    if _interpreters.get_current()[0]:
        class Refusing:
            def find_spec(self, name, path=None, target=None):
                if name.startswith("corefutures_conformance.worker."):
                    raise ImportError(f"module {name} does not support loading in subinterpreters")

        sys.meta_path.insert(0, Refusing())
"""
CERTIFIED = """
from corefutures_conformance.certification import certify
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.target import Target

if __name__ == "__main__":
    report = certify(Target("interpreter", {"on_refusal": "process"}), list(RULES.values()))
    for result in report.results:
        if result.bad and result.decides(strict=False):
            print(f"{result.rule.id}: {result.message}")
    print(report.verdict)
"""


@pytest.mark.timeout(2400)
@needs_time
@installed("interpreter")
@pytest.mark.skipif(sys.version_info < (3, 14), reason="needs the capability concurrent.interpreters (Python 3.14)")
def test_our_interpreter_backend_where_all_calls_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSING)
    (tmp_path / "program.py").write_text(CERTIFIED)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] in (["conformant"], ["conformant-with-exceptions"]), done.stdout + done.stderr


@pytest.mark.timeout(2400)
@needs_time
@installed("dask")
def test_our_dask_backend() -> None:
    distributed = pytest.importorskip("distributed", reason="needs the capability to import distributed")
    # Rules on workers that are new or lost, or many, need a cluster each: seconds. The others share one.
    own = [
        rule
        for rule in RULES.values()
        if rule.chapter in ("initializing", "worker_loss") or rule.method == "test_many_workers_run_at_once"
    ]
    shared = [rule for rule in RULES.values() if rule not in own]
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        kept("dask", shared, address=cluster.scheduler_address)
    kept("dask", own)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", CORRECT if EVERYTHING else CORRECT[sys.version_info[1] % 2 :][:1])
def test_a_correct_thread_executor(name: str) -> None:
    # The promises that it doesn't keep take their whole time. `make certify` gives each rule the usual one.
    kept(name, deadline=30.0 if EVERYTHING else 12.0)


@pytest.mark.timeout(100)
def test_what_grows_up_to_a_limit_is_no_leak() -> None:
    rules = [rule for rule in RULES.values() if rule.method.startswith("test_memory_does_not_grow")]
    report = certify(Target("correct_variants:KeepsALog"), rules)
    assert {result.rule.id: result.message for result in report.results if result.bad} == {}
    assert len(report.results) == 3


@pytest.mark.timeout(400)
@needs_time
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("reference:ProcessExecutor", ""),
        ("correct_variants:LastFirst", ""),
        ("correct_variants:Late", ""),
        ("correct_variants:KeepsALog", ""),
        *(("concurrent.futures:ProcessPoolExecutor", method) for method in START_METHODS),
        *([("concurrent.futures:InterpreterPoolExecutor", "")] if sys.version_info >= (3, 14) else []),
    ],
)
def test_a_correct_executor_of_another_kind(name: str, method: str) -> None:
    kept(name, **({"mp_context": get_context(method)} if method else {}))
