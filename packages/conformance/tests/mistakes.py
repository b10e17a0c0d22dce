"""Write how each rule is broken in practice into the kit: `python packages/conformance/tests/mistakes.py`.

The mistakes are the mutants' own docstrings; the executors that break a rule are those of the survey. With `--check`
nothing is written, and the exit status says whether the file is current.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

import mutants
from mutants import MUTANTS, Mutant

from corefutures_conformance import explaining

BY_HAND = {
    "initializing.initializer_is_refused_where_it_is_not_supported": (
        "The executor takes any option and leaves the initializer out: calls run in workers that nobody prepared."
    ),
    "initializing.initializer_runs_in_a_worker_that_replaces_another": (
        "The initializer runs in the workers that are started first, and not in one that takes the place of a lost one."
    ),
}
"""How rules are broken that no mutant breaks alone (`NOT_KILLABLE` in test_mutants.py says why)."""

ROOT = Path(__file__).resolve().parents[3]
FILE = Path(explaining.__file__).with_name("mistakes.json")


def collected() -> dict[str, dict[str, Any]]:
    """Return the mistakes of the mutants and the executors of the survey, by rule."""
    sys.path.insert(0, str(ROOT))  # for the survey's tools, which no distribution has
    from tools.survey import markdown, registry

    for found in pkgutil.iter_modules(mutants.__path__):
        importlib.import_module(f"mutants.{found.name}")
    rules: dict[str, dict[str, Any]] = {}
    for mutant in MUTANTS.values():
        _add(rules, mutant.caught_by, mutant, mutant.says)
    of_their_own = set(rules)
    for mutant in MUTANTS.values():
        for rule in sorted(mutant.broken - of_their_own):
            _add(rules, rule, mutant, "")
    for rule, does in BY_HAND.items():
        rules.setdefault(rule, {"mistakes": [], "broken_by": {}})["mistakes"].append({"does": does, "seen_as": ""})
    for group in markdown.by_executor(registry.entries(ROOT / "survey" / "results")).values():
        if (newest := registry.newest(group)) is None:
            continue
        for broken in (*newest.broken("MUST"), *newest.broken("SHOULD"), *newest.expected()):
            entry = rules.setdefault(broken["id"], {"mistakes": [], "broken_by": {}})
            entry["broken_by"][f"{markdown.title(newest)} ({markdown.version(newest)})"] = broken["message"]
    return dict(sorted(rules.items()))


def _add(rules: dict[str, dict[str, Any]], rule: str, mutant: Mutant, seen_as: str) -> None:
    entry = rules.setdefault(rule, {"mistakes": [], "broken_by": {}})
    first = (inspect.getdoc(mutant.executor) or mutant.name).split("\n\n")[0]
    entry["mistakes"].append({"does": " ".join(first.split()), "seen_as": seen_as})


def main() -> int:
    """Write the file, or check it."""
    rules = ",\n".join(
        f"{json.dumps(rule)}: {json.dumps(found, ensure_ascii=False)}" for rule, found in collected().items()
    )
    text = f"{{\n{rules}\n}}\n"
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{FILE.name} is not current: run python packages/conformance/tests/mistakes.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
