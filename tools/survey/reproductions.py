"""The scripts in survey/reproductions, and which broken rules they show by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.survey.registry import Entry


def reproductions(folder: Path) -> dict[tuple[str, str], str]:
    """Return the script that reproduces a broken rule, by executor and rule.

    A function of a script says in its docstring what it shows: `EXECUTOR…: RULE…`.
    """
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("reproductions/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and ":" in (text := ast.get_docstring(node) or ""):
                executors, _, rules = text.partition("\n\n")[0].partition(":")
                found |= {(executor, rule): path.name for executor in executors.split() for rule in rules.split()}
    return found


def without_reproduction(found: Iterable[Entry], shown: Mapping[tuple[str, str], str]) -> dict[str, list[str]]:
    """Return the broken MUSTs that nobody has reproduced, by executor.

    The adapted form of an executor is ours, and accuses nobody: its broken rules need no reproduction.
    """
    missing: dict[str, list[str]] = {}
    for entry in found:
        for rule in entry.broken("MUST") if not entry.adapted else ():
            listed = missing.setdefault(entry.executor, [])
            if (entry.executor, rule["id"]) not in shown and rule["id"] not in listed:
                listed.append(rule["id"])
    return {executor: rules for executor, rules in missing.items() if rules}
