"""The registry of results: survey/results/EXECUTOR/VERSION/pyX.Y.json, each file one report of the kit.

`pyX.Y.adapted.json` beside it is the report on the same executor through `adapt`. A stored report is in canonical
form, without tracebacks and without the paths of the machine that made it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]
"""The kit's report on one target, version 1 of its schema."""

BROKEN = ("failed", "overdue")
"""The outcomes of a broken rule."""

_PLACE = re.compile(
    r"(?P<executor>[a-z0-9][a-z0-9-]*)/(?P<version>[\w.+-]+)/(?P<python>[a-z]+\d+\.\d+t?)(?P<adapted>\.adapted)?\.json"
)
_FOLDER = re.compile(r"(?<![\w/.:])/[\w.+-]+(?:/[\w.+-]+)*/(?=[\w.+-])")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class RegistryError(ValueError):
    """A report can't be added, or a file of the registry is not where it belongs."""


@dataclass(frozen=True)
class Entry:
    """One report of the registry.

    Attributes:
        executor: The name of the executor's folder.
        version: The version of the distribution, or of Python for what belongs to it.
        python: The Python that it ran on, such as `py3.14` or `py3.13t` (free-threaded).
        adapted: Whether the executor was certified through `adapt`.
        report: The report.
    """

    executor: str
    version: str
    python: str
    adapted: bool
    report: Report

    @property
    def path(self) -> str:
        """The place in the registry."""
        return f"{self.executor}/{self.version}/{self.python}{'.adapted' if self.adapted else ''}.json"

    @cached_property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many rules there are of each level and outcome."""
        return Counter((rule["level"], rule["outcome"]) for rule in self.report["rules"])

    @property
    def kept(self) -> int:
        """How many rules passed."""
        return sum(count for (_, outcome), count in self.counts.items() if outcome == "passed")

    def broken(self, level: str) -> list[Mapping[str, Any]]:
        """Return the broken rules of a level."""
        return [rule for rule in self.report["rules"] if rule["level"] == level and rule["outcome"] in BROKEN]

    def expected(self) -> list[Mapping[str, Any]]:
        """Return the rules that fail because of a known issue."""
        return [rule for rule in self.report["rules"] if rule["outcome"] == "expected-failure"]

    @property
    def capabilities(self) -> list[str]:
        """The capabilities that the executor has."""
        return [name for name, value in self.report["capabilities"].items() if value]

    @property
    def age(self) -> tuple[object, ...]:
        """The key to sort by: newer versions, and newer Pythons of one version, come later."""
        return (_numbers(self.version), _numbers(self.python), self.python)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def entries(results: Path) -> list[Entry]:
    """Return what a folder of results has, by executor, from old to new.

    Raises:
        RegistryError: A file is not at the place that its content says.
    """
    found = []
    for file in sorted(results.rglob("*.json")):
        place = file.relative_to(results).as_posix()
        match = _PLACE.fullmatch(place)
        if match is None:
            raise RegistryError(f"{place} is not of the form EXECUTOR/VERSION/pyX.Y.json")
        report = json.loads(file.read_text(encoding="utf-8"))
        entry = Entry(match["executor"], match["version"], match["python"], match["adapted"] is not None, report)
        if (due := _entry(report, entry.executor, adapted=entry.adapted).path) != place:
            raise RegistryError(f"{place} belongs to {due}")
        found.append(entry)
    return sorted(found, key=lambda entry: (entry.executor, entry.age, entry.adapted))


def earlier(survey: Path, found: Iterable[Entry]) -> dict[str, Mapping[str, Any]]:
    """Return what an earlier kit, of 560 rules, said of the executors that have no report in the registry yet."""
    file = survey / "earlier.json"
    known: dict[str, Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    judged = {entry.executor for entry in found if not entry.adapted}
    return {executor: row for executor, row in known.items() if executor not in judged}


def newest(group: Iterable[Entry], *, adapted: bool = False) -> Entry | None:
    """Return the newest of some entries, None if there is none of the form that is asked for."""
    return max((entry for entry in group if entry.adapted is adapted), key=lambda entry: entry.age, default=None)


def _entry(report: Report, executor: str, *, adapted: bool) -> Entry:
    """Return a report with its place.

    Raises:
        RegistryError: The report does not say the version of what it judges.
    """
    environment = report["environment"]
    implementation, _, release = environment["python"].partition(" ")
    kind = {"CPython": "py", "PyPy": "pypy"}.get(implementation, implementation.lower())
    python = f"{kind}{'.'.join(release.split('.')[:2])}{'t' if environment['gil'] == 'off' else ''}"
    distribution = environment.get("distribution", "")
    if not distribution and not report["target"].startswith(("concurrent.futures:", "multiprocessing")):
        raise RegistryError(
            f"the report on {report['target']} does not say which distribution it judges: install the target, so that "
            "the kit finds it in the metadata"
        )
    version = distribution.rpartition(" ")[2] or release
    return Entry(executor, version, python, adapted, report)


def stored_form(report: Report, distribution: str = "") -> Report:
    """Return a report as it is stored: without tracebacks, seconds of the run and paths of the machine.

    Args:
        report: The report as the kit wrote it.
        distribution: What the target is installed as, where the kit can't know it: name and version.
    """
    environment = dict(report["environment"])
    if distribution:
        environment["distribution"] = distribution
    rules = [
        {**rule, "message": readable(rule["message"]), "details": "", "seconds": round(rule["seconds"], 1)}
        for rule in report["rules"]
    ]
    return {**report, "environment": environment, "rules": rules}


def readable(message: str, most: int = 240) -> str:
    """Return a message in one line, without folders and addresses in memory."""
    text = _FOLDER.sub("…/", _ADDRESS.sub("", " ".join(message.split())))
    return text if len(text) <= most else text[: most - 1] + "…"


def checked(survey: Path, executor: str, report: Report, *, adapted: bool = False, distribution: str = "") -> Entry:
    """Verify a report, and return it as an entry of the registry.

    Args:
        survey: The survey's folder.
        executor: The name of the executor's folder.
        report: The kit's report.
        adapted: Whether the target is the executor through `adapt`.
        distribution: What the target is installed as, where the kit can't know it: name and version.

    Raises:
        RegistryError: The report can't be relied on, or does not say what it judges.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", executor):
        raise RegistryError(f"an executor's name has small letters, digits and hyphens only: {executor!r}")
    stored = stored_form(report, distribution)
    if found := reasons_against(survey, stored):
        raise RegistryError(f"the report cannot be relied on: {_listed(found)}")
    return _entry(stored, executor, adapted=adapted)


def reasons_against(survey: Path, report: Report) -> list[str]:
    """Return why a report can't be relied on; none if it can.

    It is verified with the rules that it was judged by. A version of the contract gets further rules until it is
    released, so the registry keeps the lists of rules that its reports were judged by, in survey/contracts.
    """
    from corefutures_conformance.contract.versions import ContractVersion, VersionedRule, contract_version
    from corefutures_conformance.reporting.stored import problems

    def contract_of(version: str) -> ContractVersion:
        file = _rules_file(survey, report)
        if version != report["contract"]["version"] or not file.exists():
            return contract_version(version)
        data = json.loads(file.read_text(encoding="utf-8"))
        return ContractVersion(data["contract"], {rule["id"]: VersionedRule(**rule) for rule in data["rules"]})

    return problems(report, contract_of)


def _rules_file(survey: Path, report: Report) -> Path:
    """Return where the list of rules is kept that a report was judged by."""
    stated = report["contract"]
    return survey / "contracts" / f"{stated['version']}-{stated['digest'].partition(':')[2][:8]}.json"


def store(survey: Path, entry: Entry) -> None:
    """Write an entry's report, in place of the one on the same executor, version and Python.

    The list of rules that it was judged by is kept too.
    """
    from corefutures_conformance import contract
    from corefutures_conformance.reporting.stored import canonical

    rules = _rules_file(survey, entry.report)
    if not rules.exists():
        of_kit = resources.files(contract).joinpath(f"{entry.report['contract']['version']}.json")
        rules.parent.mkdir(parents=True, exist_ok=True)
        rules.write_text(of_kit.read_text(encoding="utf-8"), encoding="utf-8")
    file = survey / "results" / entry.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(canonical([entry.report]), encoding="utf-8")


def _listed(problems: Sequence[str]) -> str:
    return "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")


def changes(old: Entry, new: Entry) -> tuple[list[str], list[str]]:
    """Return the rules that the newer of two entries no longer breaks, and those that it breaks in addition.

    Only rules that both reports judged are compared: a rule may be new in the contract of one of them.
    """
    before, after = ({rule["id"]: rule for rule in entry.report["rules"]} for entry in (old, new))
    both = [name for name in before if name in after]
    decided = ("passed", *BROKEN, "expected-failure")
    was = {name for name in both if before[name]["outcome"] in (*BROKEN, "expected-failure")}
    is_ = {name for name in both if after[name]["outcome"] in (*BROKEN, "expected-failure")}
    judged = {name for name in both if before[name]["outcome"] in decided and after[name]["outcome"] in decided}
    return sorted((was - is_) & judged), sorted((is_ - was) & judged)
