"""Writes CONTRACT.md from the rules: `python -m corefutures_conformance.contract CONTRACT.md`.

With `--check` it writes nothing and tells whether the file is current.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

from corefutures.backend import CONTRACT
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule

_PREFACE = """\
# The contract of an executor

Version {version}. Generated from the conformance kit by `python -m corefutures_conformance.contract`; do
not edit.

{count} rules: {levels}. Each is one sentence with the place that it comes from: the manual of
`concurrent.futures`, PEP 3148, or a promise of corefutures' design beyond them (DESIGN), which is a SHOULD
for everybody and a MUST for a backend that declares this contract. A rule in *italics* concerns only
executors with (or without) a capability.
"""


def contract() -> str:
    """Return the text of CONTRACT.md."""
    rules = list(RULES.values())
    levels = Counter(rule.written_level for rule in rules)
    parts = [
        _PREFACE.format(
            version=".".join(map(str, CONTRACT)),
            count=len(rules),
            levels=", ".join(f"{count} {level}" for level, count in levels.most_common()),
        )
    ]
    for chapter, group in groupby(rules, key=lambda rule: rule.chapter):
        parts.append(f"## {chapter.replace('_', ' ').capitalize()}\n")
        parts.append("".join(_line(rule) for rule in group))
    return "\n".join(parts)


def _line(rule: Rule) -> str:
    wanted = ", ".join(
        f"{'with' if value else 'without'} {name}" for name, value in rule.requirement.capabilities.items()
    )
    note = f" *({wanted})*" if wanted else ""
    return f"- `{rule.id}`{note}: {rule.statement} ({rule.source})\n"


def main() -> int:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description="Write CONTRACT.md from the rules.")
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if the file is not current, and write nothing"
    )
    options = parser.parse_args()
    text = contract()
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
        return 0
    if options.file.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{options.file} is not current: run python -m corefutures_conformance.contract {options.file}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
