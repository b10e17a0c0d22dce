"""Versions of the contract: each is a frozen list of rules, shipped as `contract/X.Y.json` beside this module.

The id of a rule never changes its meaning within a major version: sentence, level and source stay as they were when
the id was first published. A later minor version only adds rules. `broken_by` tells where the code departs from that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from corefutures.backend import CONTRACT
from corefutures_conformance.rules import Rule


@dataclass(frozen=True)
class VersionedRule:
    """A rule as a version of the contract has it.

    Attributes:
        id: The id, `chapter.name`.
        level: `MUST`, `SHOULD` or `MAY`, as written.
        statement: The demand, one sentence.
        source: Where the demand comes from.
        requires: The capabilities that an executor must have (true) or lack (false) for the rule to apply.
    """

    id: str
    level: str
    statement: str
    source: str
    requires: Mapping[str, bool]

    @classmethod
    def of(cls, rule: Rule) -> VersionedRule:
        """Return a rule of the code in this form."""
        capabilities = dict(sorted(rule.requirement.capabilities.items()))
        return cls(rule.id, rule.written_level, rule.statement, rule.source, capabilities)

    def inapplicable(self, capabilities: Mapping[str, bool]) -> bool:
        """Return whether the rule does not apply to an executor with these capabilities."""
        return any(capabilities.get(name, False) is not wanted for name, wanted in self.requires.items())


@dataclass(frozen=True)
class ContractVersion:
    """A version of the contract.

    Attributes:
        version: The version, such as `"1.0"`.
        rules: The rules by id.
    """

    version: str
    rules: Mapping[str, VersionedRule]

    @property
    def digest(self) -> str:
        """The SHA-256 of the list of rules in canonical form, as `sha256:…`."""
        listed = [asdict(self.rules[name]) for name in sorted(self.rules)]
        text = json.dumps(listed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def to_json(self) -> dict[str, Any]:
        """Return the version as plain data, the rules by id."""
        rules = [asdict(self.rules[name]) for name in sorted(self.rules)]
        return {"contract": self.version, "digest": self.digest, "rules": rules}


class UnknownVersion(ValueError):
    """The kit has no such version of the contract."""


CURRENT = ".".join(map(str, CONTRACT))
"""The version that this kit's rules make up."""


def versions() -> list[str]:
    """Return the versions that this kit knows, the oldest first."""
    names = [file.name.removesuffix(".json") for file in resources.files(__package__).iterdir()]
    return sorted((name for name in names if _numbers(name)), key=_numbers)


@cache
def contract_version(version: str) -> ContractVersion:
    """Return a version of the contract.

    Args:
        version: Its number, such as `"1.0"`.

    Raises:
        UnknownVersion: The kit has no such version, or its file was changed: the digest is not that of the rules.
    """
    if version not in versions():
        raise UnknownVersion(f"there is no version {version!r} of the contract; this kit has {', '.join(versions())}")
    data = json.loads(resources.files(__package__).joinpath(f"{version}.json").read_text(encoding="utf-8"))
    found = ContractVersion(data["contract"], {rule["id"]: VersionedRule(**rule) for rule in data["rules"]})
    if found.digest != data["digest"]:
        raise UnknownVersion(f"the file of version {version} of the contract was changed: its digest is another")
    return found


def of_rules(rules: Iterable[Rule]) -> ContractVersion:
    """Return the current version, made from the rules of the code."""
    return ContractVersion(CURRENT, {rule.id: VersionedRule.of(rule) for rule in rules})


def broken_by(rules: ContractVersion) -> list[str]:
    """Return where `rules` depart from earlier versions with the same major number, a sentence for each."""
    found = []
    for version in versions():
        if version == rules.version or version.partition(".")[0] != rules.version.partition(".")[0]:
            continue
        for name, rule in contract_version(version).rules.items():
            now = rules.rules.get(name)
            if now is None:
                found.append(f"{name}: version {version} has it; it may not be removed before {_next_major(version)}")
            elif now != rule:
                changed = [key for key, value in asdict(rule).items() if asdict(now)[key] != value]
                found.append(f"{name}: {', '.join(changed)} differ from version {version}; a new demand needs a new id")
    return found


def _numbers(name: str) -> tuple[int, ...]:
    parts = name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _next_major(version: str) -> str:
    return f"{int(version.partition('.')[0]) + 1}.0"
