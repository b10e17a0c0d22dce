"""Writes CONTRACT.md and the list of the current version from the rules: `python -m corefutures_conformance.contract`.

With `--check` the command writes nothing; its exit status says whether both files are current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections import Counter
from itertools import groupby
from pathlib import Path

from corefutures_conformance.contract.versions import CURRENT, ContractVersion, broken_by, of_rules
from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.rules import Rule

_PREFACE = """\
# The contract of an executor

Version {version}. Generated from the conformance kit by `python -m corefutures_conformance.contract`; do not edit.
[The promises](docs/promises.md) is the introduction.

{count} rules: {levels}. Each rule is one sentence with its source in parentheses: the manual of
`concurrent.futures`, PEP 3148, or a promise of corefutures beyond both. A rule from a promise is a SHOULD for
every executor, and a MUST for a backend that declares this contract. A note in *italics* names the
capabilities that an executor must have, or must lack, for the rule to apply.
"""

#: The page that the promises stand on, from where CONTRACT.md lies; each promise has an anchor there.
_PROMISES = "docs/promises.md"


def contract() -> str:
    """Return the text of CONTRACT.md."""
    rules = list(RULES.values())
    levels = Counter(rule.written_level for rule in rules)
    parts = [
        _PREFACE.format(
            version=CURRENT,
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
    return _wrapped(f"- `{rule.id}`{note}: {rule.statement} ({_cited(rule.source)})") + "\n"


def _wrapped(item: str) -> str:
    """Return an item of a list in lines of at most 118 characters; neither code nor the source is broken."""
    text = re.sub(r"`[^`]+`|\([^()]*(\([^()]*\)[^()]*)*\)$", lambda code: code[0].replace(" ", "\0"), item)
    lines = textwrap.fill(text, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ")


def _cited(source: str) -> str:
    """Return the source of a rule, each promise in it as a link to where it stands."""
    kind, _, numbers = source.partition(" ")
    if kind != "promise":
        return source
    return "promise " + ", ".join(f"[{number}]({_PROMISES}#{number.lower()})" for number in numbers.split(", "))


def listing(version: ContractVersion) -> str:
    """Return the file of a version: JSON with a rule in each line."""
    data = version.to_json()
    rules = ",\n".join(f"  {json.dumps(rule, ensure_ascii=False)}" for rule in data.pop("rules"))
    head = json.dumps(data, ensure_ascii=False).removesuffix("}")
    return f'{head}, "rules": [\n{rules}\n]}}\n'


def main() -> int:
    """Write the page and the current version's list of rules, or check both."""
    parser = argparse.ArgumentParser(description="Write CONTRACT.md and the current version's list from the rules.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a file is not current, and write nothing")
    options = parser.parse_args()
    version = of_rules(RULES.values())
    if departures := broken_by(version):
        print("\n".join(departures), file=sys.stderr)
        return 1
    listed = listing(version)
    texts = {options.file: contract(), Path(__file__).with_name(f"{CURRENT}.json"): listed}
    for file, text in texts.items():
        if not options.check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            command = f"python -m corefutures_conformance.contract {options.file}"
            print(f"{file.name} is not current: run {command}", file=sys.stderr)
            return 1
    return 0
