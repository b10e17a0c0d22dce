"""On the hot path, what is changed in place is written by one thread, or under a lock: see docs/development.md.

`x.count += 1` is three steps: of two threads that take them at once, one count is lost.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POOLS, STRUCTURED = "packages/pools/src/corefutures_pools", "packages/structured/src/corefutures_structured"
HOT = [
    "corefutures/_*.py", "plugins/thread/src/corefutures_thread/*.py", f"{STRUCTURED}/*.py", f"{POOLS}/*.py",
    f"{POOLS}/workers/*.py", f"{POOLS}/workers/shared_queue/*.py", f"{POOLS}/workers/pipes/*.py",
]  # fmt: skip
#: What runs in a worker process or interpreter, where one thread runs calls.
IN_WORKERS = {"worker.py", "worker_loop.py"}


@cache
def hot_modules() -> dict[Path, str]:
    paths = [path for pattern in HOT for path in sorted(ROOT.glob(pattern)) if path.name not in IN_WORKERS]
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}


def is_section(node: ast.AST) -> bool:
    """Whether a statement holds a lock: `if lock.taken:` or `with lock:`."""
    if isinstance(node, ast.If):
        return any(isinstance(part, ast.Attribute) and part.attr == "taken" for part in ast.walk(node.test))
    return isinstance(node, ast.With) and any("lock" in ast.unparse(item.context_expr) for item in node.items)


def unlocked_changes(source: str) -> Iterator[tuple[int, str]]:
    """The lines, and the names of attributes and globals, that are changed in place without a lock."""

    def visit(node: ast.AST, names: frozenset[str], function: str) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.FunctionDef):
            function = node.name
            names = frozenset(name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names)
        if is_section(node) or function == "__init__":
            return
        if isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Attribute):
                yield node.lineno, node.target.attr
            elif isinstance(node.target, ast.Name) and node.target.id in names:
                yield node.lineno, node.target.id
        for child in ast.iter_child_nodes(node):
            yield from visit(child, names, function)

    return visit(ast.parse(source), frozenset(), "")


def says_who_writes(name: str, source: str) -> bool:
    """Whether a comment on the line of a declaration, or above that line, says which thread writes it."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        if not any(name == getattr(target, "attr", getattr(target, "id", None)) for target in targets):
            continue
        above = node.lineno - 2
        while above >= 0 and lines[above].lstrip().startswith("#"):
            above -= 1
        if "written by" in " ".join(line.strip("# ") for line in lines[above + 1 : node.lineno]):
            return True
    return False


def test_what_is_changed_in_place_is_written_by_one_thread_or_under_a_lock() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path, source in hot_modules().items()
        for line, name in unlocked_changes(source)
        if not any(says_who_writes(name, other) for other in hot_modules().values())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("self.count += 1", True),
        ("if self.lock.taken:\n            self.count += 1", False),
        ("with self._lock:\n            self.count += 1", False),
        ("if self.lock:\n            self.count += 1", True),
        ("count += 1", False),
    ],
)
def test_a_change_without_a_lock_is_found(line: str, found: bool) -> None:
    source = f"class Pool:\n    def submit(self, count):\n        {line}\n"
    assert bool(list(unlocked_changes(source))) is found


def test_a_comment_that_names_the_writer_is_found() -> None:
    source = "def __init__(self):\n    # How many; written by\n    # one thread.\n    self.{} = 0\n"
    assert says_who_writes("count", source.format("count"))
    assert not says_who_writes("count", source.format("other"))
