"""Versions of the contract: frozen lists of rules, their digests, their differences."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from corefutures.backend import CONTRACT
from corefutures_conformance.contract.changes import Changes
from corefutures_conformance.contract.versions import (
    CURRENT,
    ContractVersion,
    UnknownVersion,
    VersionedRule,
    broken_by,
    contract_version,
    of_rules,
    versions,
)
from corefutures_conformance.executor_tests import RULES

ROOT = Path(__file__).resolve().parents[3]

OLD = VersionedRule("chapter.old", "MUST", "An executor MUST be old.", "manual: Executor", {})
FIRST = ContractVersion("1.0", {OLD.id: OLD})

DIGEST_OF_1_0 = "sha256:550e5b218a7b82ac8f912e7941c1e5944ec46076e33ecb2e6e9b479fc15910d2"


def with_rules(*rules: VersionedRule) -> ContractVersion:
    return ContractVersion("1.1", {rule.id: rule for rule in rules})


def test_the_current_version_is_that_of_the_rules() -> None:
    assert CURRENT == ".".join(map(str, CONTRACT)) == versions()[-1]
    assert contract_version(CURRENT) == of_rules(RULES.values()), (
        "run python -m corefutures_conformance.contract CONTRACT.md"
    )


def test_a_published_version_stays_as_it_was() -> None:
    assert contract_version("1.0").digest == DIGEST_OF_1_0


def test_no_id_has_changed_its_meaning() -> None:
    assert broken_by(of_rules(RULES.values())) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"statement": "An executor MUST be new."}, "statement differ from version 1.0"),
        ({"level": "SHOULD"}, "level differ from version 1.0"),
        ({"source": "PEP 3148"}, "source differ from version 1.0"),
        ({"requires": {"pickles": True}}, "requires differ from version 1.0"),
    ],
)
def test_a_changed_rule_is_found(change: dict[str, object], complaint: str) -> None:
    rules = dict(contract_version("1.0").rules)
    name = next(name for name, rule in rules.items() if rule.level == "MUST" and rule.source != "PEP 3148")
    assert not rules[name].requires
    rules[name] = dataclasses.replace(rules[name], **change)  # type: ignore[arg-type]
    found = broken_by(ContractVersion(CURRENT, rules))
    assert found
    assert found[0].startswith(f"{name}: ")
    assert complaint in found[0]


def test_a_removed_rule_is_found() -> None:
    rules = dict(contract_version("1.0").rules)
    name, _ = rules.popitem()
    assert broken_by(ContractVersion(CURRENT, rules))[0] == (
        f"{name}: version 1.0 has it; it may not be removed before 2.0"
    )
    assert broken_by(ContractVersion("2.0", rules)) == []


def test_the_digest_is_that_of_the_rules_and_of_no_order() -> None:
    other = dataclasses.replace(OLD, id="chapter.other")
    assert with_rules(OLD, other).digest == with_rules(other, OLD).digest
    assert with_rules(OLD).digest != with_rules(other).digest


def test_a_version_that_nobody_published_is_refused() -> None:
    with pytest.raises(UnknownVersion, match=r"no version '9\.9' of the contract; this kit has 1\.0"):
        contract_version("9.9")


def test_differences_and_consequences() -> None:
    added = VersionedRule("chapter.added", "MUST", "An executor MUST add.", "manual: Executor", {})
    elsewhere = VersionedRule("chapter.pickles", "MUST", "An executor MUST pickle.", "manual", {"pickles": True})
    promised = VersionedRule("chapter.promise", "SHOULD", "An executor SHOULD promise.", "promise E1", {})
    sterner = VersionedRule("chapter.sterner", "SHOULD", "An executor SHOULD try.", "manual", {})
    old = ContractVersion("1.0", {OLD.id: OLD, sterner.id: sterner})
    new = with_rules(added, elsewhere, promised, dataclasses.replace(sterner, level="MUST"))
    changes = Changes(old, new)
    assert [rule.id for rule in changes.added] == ["chapter.added", "chapter.pickles", "chapter.promise"]
    assert [rule.id for rule in changes.removed] == ["chapter.old"]
    assert [before.id for before, _ in changes.changed] == ["chapter.sterner"]
    report = {
        "contract": {"declared": None},
        "capabilities": {"pickles": False},
        "rules": [{"id": "chapter.old", "outcome": "passed"}, {"id": "chapter.sterner", "outcome": "failed"}],
    }
    assert changes.consequences(report) == (["chapter.sterner"], ["chapter.added"])
    declaring = {**report, "contract": {"declared": "1.0"}}
    assert changes.consequences(declaring) == (["chapter.sterner"], ["chapter.added", "chapter.promise"])


def test_the_files_are_checked(tmp_path: Path) -> None:
    page = tmp_path / "CONTRACT.md"
    page.write_text("old", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "corefutures_conformance.contract", str(page), "--check"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "CONTRACT.md is not current: run python -m corefutures_conformance.contract" in done.stderr
    assert page.read_text(encoding="utf-8") == "old"
