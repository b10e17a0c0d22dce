"""Reports as stored: what `verify` finds, what `diff` shows, badges and certificates; the workflow of a third party."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from corefutures_conformance.contract.versions import CURRENT, contract_version
from corefutures_conformance.reporting import stored
from corefutures_conformance.reporting.badge import badge
from corefutures_conformance.reporting.certificate import certificate

ROOT = Path(__file__).resolve().parents[3]

Report = dict[str, Any]


def whole(declared: str | None = None) -> Report:
    """Return a report in which each rule of the current contract was kept, as the kit would write it."""
    version = contract_version(CURRENT)
    rules = [
        {
            "id": rule.id,
            "level": "MUST" if declared and rule.source.startswith("promise") else rule.level,
            "outcome": "not-applicable" if rule.requires else "passed",
            "message": "not for this executor" if rule.requires else "",
            "seconds": 0.1, "statement": rule.statement, "source": rule.source, "details": "",
            "unexpectedly_passed": False,
        }
        for rule in version.rules.values()
    ]  # fmt: skip
    return {
        "schema_version": 1, "kit": {"distribution": "corefutures-conformance", "version": "0.1.0"},
        "contract": {"version": CURRENT, "digest": version.digest, "declared": declared},
        "date": "2026-11-28T00:00:00Z", "target": "acme:Executor",
        "environment": {"python": "CPython 3.14.0", "gil": "on", "platform": "Linux"},
        "strict": False, "selection": "", "seed": None,
        "capabilities": {}, "capability_origins": {}, "capabilities_declared": {}, "capabilities_probed": {},
        "verdict": "conformant", "gave_up": False, "interrupted": False, "rules": rules,
    }  # fmt: skip


def written(folder: Path, report: Report, name: str = "report.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(report), encoding="utf-8")
    return file


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corefutures", "conformance", *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", timeout=55, check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip


def rule_of(report: Report, *, level: str, needs: str | None = None) -> Report:
    """Return the first rule of a report with a level, and with or without a capability that it needs."""
    rules = contract_version(CURRENT).rules
    return next(
        rule for rule in report["rules"]
        if rule["level"] == level and (needs in rules[rule["id"]].requires if needs else not rules[rule["id"]].requires)
    )  # fmt: skip


@pytest.mark.parametrize("declared", [None, "1.0", CURRENT])
def test_a_report_of_the_kit_can_be_relied_on(declared: str | None) -> None:
    report = whole(declared)
    if declared == "1.0":  # what came later was not promised
        promised = contract_version("1.0").rules
        for rule in report["rules"]:
            if rule["id"] not in promised:
                rule["level"] = contract_version(CURRENT).rules[rule["id"]].level
    assert stored.problems(report) == []


def _wrong_digest(report: Report) -> None:
    report["contract"]["digest"] = "sha256:" + "0" * 64


def _unknown_version(report: Report) -> None:
    report["contract"]["version"] = "9.9"


def _missing(report: Report) -> None:
    del report["rules"][3]


def _twice(report: Report) -> None:
    report["rules"].append(copy.deepcopy(report["rules"][0]))


def _foreign(report: Report) -> None:
    report["rules"].append({**report["rules"][0], "id": "submitting.made_up"})


def _softened(report: Report) -> None:
    rule_of(report, level="MUST")["level"] = "SHOULD"


def _reworded(report: Report) -> None:
    rule_of(report, level="MUST")["statement"] = "An executor MUST do as it likes."


def _skipped_without_reason(report: Report) -> None:
    rule_of(report, level="MUST").update(outcome="not-applicable", message=" ")


def _blames_a_capability(report: Report) -> None:
    rule_of(report, level="MUST").update(
        outcome="not-applicable", message="the rule is for executors with the capability 'pickles'"
    )


def _passed_what_cannot_apply(report: Report) -> None:
    rule_of(report, level="SHOULD", needs="pickles").update(outcome="passed", message="")


def _failed_and_called_conformant(report: Report) -> None:
    rule_of(report, level="MUST").update(outcome="failed", message="broken")


def _not_run_and_called_conformant(report: Report) -> None:
    rule_of(report, level="MUST").update(outcome="not-run", message="interrupted")


def _gave_up(report: Report) -> None:
    report["gave_up"] = True


def _selected(report: Report) -> None:
    report["selection"] = "-k easy, 2 of 600 rules"
    report["rules"] = report["rules"][:2]


FORGERIES: list[tuple[Callable[[Report], None], str]] = [
    (_wrong_digest, f"the digest is not that of contract {CURRENT}"),
    (_unknown_version, "no version '9.9' of the contract"),
    (_missing, "1 rules are missing: "),
    (_twice, "these rules stand more than once"),
    (_foreign, f"contract {CURRENT} has no rules submitting.made_up"),
    (_softened, "the level is MUST, not SHOULD"),
    (_reworded, "sentence or source is not that of contract"),
    (_skipped_without_reason, "not-applicable without a reason"),
    (_blames_a_capability, "by the capabilities it applies"),
    (_passed_what_cannot_apply, "by the capabilities it does not apply, and its outcome is passed"),
    (_failed_and_called_conformant, "the verdict that follows from the rules is nonconformant, not conformant"),
    (_not_run_and_called_conformant, "the verdict that follows from the rules is incomplete, not conformant"),
    (_gave_up, "the verdict that follows from the rules is nonconformant"),
    (_selected, "only some rules were selected: -k easy"),
]


@pytest.mark.parametrize(("forge", "complaint"), FORGERIES)
def test_what_cannot_be_relied_on_is_told(forge: Callable[[Report], None], complaint: str) -> None:
    report = whole()
    forge(report)
    assert [problem for problem in stored.problems(report) if complaint in problem], stored.problems(report)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("verdict"),
        lambda report: report.update(verdict="fine"),
        lambda report: report.update(schema_version=2),
        lambda report: report.update(extra=1),
        lambda report: report.update(date="yesterday"),
        lambda report: report["rules"].append({}),
        lambda report: report["rules"][0].update(seconds=-1),
        lambda report: report["capabilities"].update(pickles="yes"),
        lambda report: report["contract"].update(digest="md5:0"),
        lambda report: report["environment"].pop("python"),
    ],
    ids=[
        "no verdict", "wrong verdict", "schema version", "unknown field", "date", "empty rule", "negative seconds",
        "capability that is no bool", "digest", "no Python",
    ],
)  # fmt: skip
def test_the_schema_refuses(tmp_path: Path, spoil: Callable[[Report], object]) -> None:
    report = whole()
    assert stored.read_reports(written(tmp_path, report)) == [report]
    spoil(report)
    with pytest.raises(stored.ReportError, match="is not as the schema of reports says"):
        stored.read_reports(written(tmp_path, report))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("not json", "cannot read the report"), ("[]", "not as the schema"), ('{"target": "x"}', "no schema_version")],
)
def test_a_file_that_is_no_report(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "file.json").write_text(text, encoding="utf-8")
    done = run("verify", tmp_path / "file.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_canonical_form_does_not_depend_on_an_order() -> None:
    report = whole()
    turned = {key: report[key] for key in reversed(report)}
    turned["rules"] = report["rules"][::-1]
    assert stored.canonical([turned]) == stored.canonical([report])


def test_a_run_is_stored_verified_and_drawn(tmp_path: Path) -> None:
    """The target breaks rules on purpose: those are told, and the report can be relied on all the same."""
    file = tmp_path / "report.json"
    done = run("reference:ThreadExecutor", "-k", "cancelling", "--seed", "7", "--contract", "1.0", "--json", file, "-q")
    assert done.returncode == 0, done.stderr
    (report,) = stored.read_reports(file)
    assert file.read_text(encoding="utf-8") == stored.canonical([report])
    assert (report["contract"]["version"], report["seed"]) == ("1.0", 7)
    assert report["capabilities_probed"]["same_process"] is True
    verified = run("verify", file)
    assert verified.returncode == 1
    assert "only some rules were selected" in verified.stdout
    refused = run("badge", file, "-o", tmp_path / "badge.svg")
    assert refused.returncode == 2
    assert not (tmp_path / "badge.svg").exists()


def test_verify_badge_and_certificate(tmp_path: Path) -> None:
    file = written(tmp_path, whole())
    done = run("verify", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("acme:Executor: conformant (contract "
                                f"{CURRENT}, {len(contract_version(CURRENT).rules)} rules): verified\n")  # fmt: skip
    assert run("badge", file, "-o", tmp_path / "badge.svg").returncode == 0
    assert ET.fromstring((tmp_path / "badge.svg").read_text(encoding="utf-8")).tag.endswith("svg")
    assert run("certificate", file, "-o", tmp_path / "page.html").returncode == 0
    assert "Conformance of acme:Executor" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_badge_says_verdict_contract_and_rules_kept() -> None:
    report = whole()
    rule_of(report, level="MUST").update(outcome="failed", message="broken")
    report["verdict"] = "nonconformant"
    drawn = ET.fromstring(badge(report))
    name = drawn.get("aria-label")
    assert name is not None
    kept = sum(rule["outcome"] == "passed" for rule in report["rules"])
    assert name == f"concurrent.futures contract {CURRENT}: nonconformant · {kept} of {kept + 1} rules"
    assert drawn.findtext("{http://www.w3.org/2000/svg}title") == name
    assert drawn.get("role") == "img"


def _luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["conformant", "conformant-with-exceptions", "nonconformant", "incomplete"])
def test_a_badge_can_be_read(name: str) -> None:
    """White text has a contrast of 4.5 to both grounds (WCAG 2, level AA); the outline is seen on white and black."""
    drawn = badge({**whole(), "verdict": name})
    grounds = re.findall(r'fill="(#[0-9a-f]{6})"', drawn)
    assert len(grounds) == 2
    for ground in grounds:
        assert 1.05 / (_luminance(ground) + 0.05) >= 4.5
    outline = _luminance(re.findall(r'stroke="(#[0-9a-f]{6})"', drawn)[0])
    assert 1.05 / (outline + 0.05) >= 2.5
    assert (outline + 0.05) / 0.05 >= 2.5


def test_a_certificate_is_one_page_with_all_facts() -> None:
    report = whole()
    rule_of(report, level="SHOULD").update(outcome="failed", message="not <yet>")
    page = certificate(report)
    parser = _Links()
    parser.feed(page)
    assert parser.links == [], "the page must be self-contained"
    for fact in (
        "acme:Executor",
        "CPython 3.14.0",
        "2026-11-28T00:00:00Z",
        report["contract"]["digest"],
        "not &lt;yet&gt;",
    ):
        assert fact in page


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attributes if name in ("href", "src")]


def test_two_reports_are_compared(tmp_path: Path) -> None:
    old, new = whole(), whole()
    new["date"] = "2027-01-01T00:00:00Z"
    new["rules"][0]["seconds"] = 9.0
    same = run("diff", written(tmp_path, old, "old.json"), written(tmp_path, new, "new.json"))
    assert (same.returncode, same.stdout) == (0, "acme:Executor: 0 differences\n")
    broken = rule_of(new, level="MUST")
    broken.update(outcome="failed", message="it broke")
    new["verdict"] = "nonconformant"
    new["environment"]["python"] = "CPython 3.15.0"
    worse = run("diff", tmp_path / "old.json", written(tmp_path, new, "new.json"))
    assert worse.returncode == 1
    assert f"rule {broken['id']}: MUST passed → MUST failed: it broke" in worse.stdout
    assert "verdict: conformant → nonconformant" in worse.stdout
    assert "environment: python: CPython 3.14.0 → CPython 3.15.0" in worse.stdout
    assert run("diff", tmp_path / "new.json", tmp_path / "old.json").returncode == 0


def test_two_versions_are_compared(tmp_path: Path) -> None:
    done = run("diff", "1.0", CURRENT, "--report", written(tmp_path, whole()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"contract 1.0: {len(contract_version('1.0').rules)} rules, sha256:")
    assert "acme:Executor: 0 rules would break for certain" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("diff", "1.0", "9.9"), "there is no version '9.9' of the contract"),
        (("diff", "no.json", "none.json"), "cannot read the report no.json"),
        (("verify", "no.json"), "cannot read the report no.json"),
        (("badge", "no.json"), "the following arguments are required: -o/--output"),
        (("thread", "--contract", "0.1"), "there is no version '0.1' of the contract"),
        (("thread", "--seed", "x"), "must be a whole number, not 'x'"),
    ],
)
def test_bad_usage_is_one_sentence(arguments: tuple[str, ...], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_the_workflow_of_a_third_party(tmp_path: Path) -> None:
    """The documented file has at most ten lines; each command of the workflow that it uses is run by a shell here."""
    text = (ROOT / "docs" / "certify.md").read_text(encoding="utf-8")
    (caller,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(caller.splitlines()) <= 10
    file = "conformance.yml"
    assert f".github/workflows/{file}@" in caller
    workflow = (ROOT / ".github" / "workflows" / file).read_text(encoding="utf-8")
    inputs = set(re.findall(r"^ {6}(\w+):$", workflow.partition("jobs:")[0], re.MULTILINE))
    given = dict(re.findall(r"^ {6}(\w+): (.+)$", caller.partition("with:")[2], re.MULTILINE))
    assert set(given) <= inputs
    (step,) = re.findall(r"- name: Certify\n(?: {8}.*\n)*? {8}run: \|\n((?: {10}.*\n|\n)+)", workflow)
    commands = "\n".join(line[10:] for line in step.splitlines())
    (tmp_path / "acme.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\nclass Executor(ThreadPoolExecutor): pass\n",
        encoding="utf-8",
    )
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("this platform has no bash, which GitHub's runners have")
    environment = {
        **os.environ, "TARGET": "acme:Executor", "OPTIONS": "-k passes_no_arguments", "PYTHONUTF8": "1",
        "PATH": os.pathsep.join([str(_commands(tmp_path)), os.environ["PATH"]]),
    }  # fmt: skip
    done = subprocess.run(
        [bash, "-e", "-c", commands], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert (tmp_path / "report.json").exists(), done.stdout + done.stderr
    assert "only some rules were selected" in done.stdout + done.stderr, "a badge of a selection was drawn"
    written(tmp_path, whole())
    drawing = commands[commands.index("corefutures conformance verify") :]
    assert subprocess.run([bash, "-e", "-c", drawing], cwd=tmp_path, env=environment, timeout=55).returncode == 0
    assert {"badge.svg", "certificate.html"} <= {path.name for path in tmp_path.iterdir()}


def _commands(folder: Path) -> Path:
    """Return a folder with the command `corefutures` of this environment."""
    place = folder / "bin"
    place.mkdir()
    script = place / "corefutures"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m corefutures "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return place
