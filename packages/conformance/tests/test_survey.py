"""The registry has reports that can be relied on; survey/README.md is what they say; who is accused was shown."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from corefutures_conformance.contract.versions import contract_version, versions
from corefutures_conformance.reporting.stored import canonical, read_reports
from tools.survey import html, markdown, subjects as subjects_module
from tools.survey.__main__ import SURVEY, look_again, made, main, publish
from tools.survey.adapted import __getattr__ as adapted_form
from tools.survey.registry import Entry, RegistryError, changes, checked, entries, newest, reasons_against, store
from tools.survey.reproductions import reproductions
from tools.survey.subjects import SUBJECTS

ROOT = Path(__file__).resolve().parents[3]
BREAKABLE = "submitting.each_call_runs_exactly_once"


@functools.cache
def registry() -> list[Entry]:
    return entries(SURVEY / "results")


def a_report(distribution: str = "acme 1.2", python: str = "CPython 3.14.1") -> dict[str, Any]:
    """A report that can be relied on: the stored one on the standard thread pool, as if it were on another target."""
    text = json.dumps(next(entry for entry in registry() if entry.executor == "stdlib-thread").report)
    report: dict[str, Any] = json.loads(text)
    report["target"] = "acme:Executor"
    report["environment"] |= {"distribution": distribution, "python": python, "gil": "on"}
    return report


def breaking(
    report: dict[str, Any], *names: str, message: str = "it ran | twice in /some/where/file.py at 0x7f00"
) -> Any:
    """The same report with broken rules, and the verdict that follows."""
    for rule in report["rules"]:
        if rule["id"] in names:
            rule |= {
                "outcome": "failed",
                "message": "it ran | twice in /some/where/file.py at 0x7f00",
                "details": "Traceback",
            }
    return report | {"verdict": "nonconformant"}


def a_file(folder: Path, report: Mapping[str, Any]) -> Path:
    file = folder / "report.json"
    file.write_text(json.dumps(report), encoding="utf-8")
    return file


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """A survey without results; one reproduction, and the rules that the stored reports were judged by."""
    shutil.copytree(SURVEY / "contracts", tmp_path / "contracts")
    (tmp_path / "results").mkdir()
    (tmp_path / "reproductions").mkdir()
    (tmp_path / "reproductions" / "shows.py").write_text(
        f'def twice():\n    """acme loky: {BREAKABLE}"""\n', encoding="utf-8"
    )
    return tmp_path


def test_the_page_is_that_of_the_stored_reports() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.survey", "page", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_stored_report_can_be_relied_on() -> None:
    assert len(registry()) > 1
    for entry in registry():
        file = SURVEY / "results" / entry.path
        (report,) = read_reports(file)
        assert reasons_against(SURVEY, report) == [], entry.path
        assert file.read_text(encoding="utf-8") == canonical([report]), f"{entry.path} is not in canonical form"
        assert not any(rule["details"] for rule in report["rules"]), f"{entry.path} has tracebacks"


def test_reproductions_are_of_executors_and_rules_that_exist() -> None:
    ids = {name for version in versions() for name in contract_version(version).rules}
    executors = {*SUBJECTS, *(entry.executor for entry in registry())}
    for executor, rule in reproductions(SURVEY):
        assert executor in executors, f"nobody is called {executor}"
        assert rule in ids, f"there is no rule {rule}"


def test_a_report_of_anybody_is_added_by_one_command(survey: Path) -> None:
    entry = publish(survey, a_report(), "acme")
    assert entry.path == "acme/1.2/py3.14.json"
    assert [found.path for found in entries(survey / "results")] == [entry.path]
    text = (survey / "README.md").read_text(encoding="utf-8")
    assert "| [acme:Executor](#acme) | acme 1.2 | conformant |" in text


def test_the_command_says_why_it_adds_nothing(
    survey: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.survey.__main__.SURVEY", survey)
    assert main(["add", "acme", str(survey / "nothing.json")]) == 1
    assert "cannot read the report" in capsys.readouterr().err
    report = a_report()
    report["environment"].pop("distribution")
    assert main(["add", "acme", str(a_file(survey, report))]) == 1
    assert "does not say which distribution it judges" in capsys.readouterr().err
    assert main(["add", "acme", str(a_file(survey, report)), "--distribution", "acme 7"]) == 0
    assert capsys.readouterr().out == "acme/7/py3.14.json\n"
    assert main(["run", "nobody"]) == 1
    assert "no subject is called nobody" in capsys.readouterr().err
    assert main(["run", "thread", "--adapted"]) == 1
    assert "has no adapted form" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "nonconformant"}, "the verdict that follows from the rules is conformant"),
        ({"selection": "waiting"}, "only some rules were selected"),
        ({"rules": []}, "rules are missing"),
        ({"contract": {"version": "1.1", "digest": f"sha256:{'0' * 64}", "declared": None}}, "the digest is not that"),
    ],
)
def test_a_report_that_cannot_be_relied_on_is_not_added(survey: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        publish(survey, a_report() | change, "acme")
    assert entries(survey / "results") == []


def test_who_breaks_a_rule_is_not_published_without_a_reproduction(survey: Path) -> None:
    report = breaking(a_report(), BREAKABLE)
    with pytest.raises(RegistryError, match=f'docstring is "other: {BREAKABLE}"'):
        publish(survey, report, "other")
    store(survey, checked(survey, "other", report))
    with pytest.raises(ValueError, match=f"no script.*'other': \\['{BREAKABLE}'\\]"):
        markdown.page(entries(survey / "results"), reproductions(survey))
    shutil.rmtree(survey / "results" / "other")
    publish(survey, report, "acme")
    text = (survey / "README.md").read_text(encoding="utf-8")
    assert "| it ran \\| twice in …/file.py | [shows.py](reproductions/shows.py) |" in text
    assert "| [acme:Executor](#acme) | acme 1.2 | nonconformant | 1 |" in text
    assert "/some/where" not in (survey / "results" / "acme" / "1.2" / "py3.14.json").read_text(encoding="utf-8")


def test_the_rules_that_a_report_was_judged_by_are_kept(survey: Path) -> None:
    shutil.rmtree(survey / "contracts")
    kit = contract_version(versions()[-1])
    capabilities = a_report()["capabilities"]
    rules = [
        {
            "id": rule.id, "level": rule.level, "statement": rule.statement, "source": rule.source, "seconds": 0,
            "outcome": "not-applicable" if rule.inapplicable(capabilities) else "passed", "message": "a reason",
            "details": "", "unexpectedly_passed": False,
        }
        for rule in kit.rules.values()
    ]  # fmt: skip
    report = a_report() | {
        "rules": rules,
        "contract": {"version": kit.version, "digest": kit.digest, "declared": None},
    }
    entry = publish(survey, report, "acme")
    (file,) = (survey / "contracts").iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["digest"] == kit.digest
    assert reasons_against(survey, entry.report) == []


def test_the_adapted_form_stands_in_a_column_and_accuses_nobody(survey: Path) -> None:
    publish(survey, breaking(a_report("loky 3.7"), BREAKABLE), "loky")
    other = breaking(a_report("loky 3.7"), "submitting.passes_a_keyword_called_fn")
    assert publish(survey, other, "loky", adapted=True).path == "loky/3.7/py3.14.adapted.json"
    text = (survey / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "](#loky)" in line)
    assert row.endswith("| nonconformant (1 MUST broken) |")
    assert "rule that stays broken through `adapt`" in text


def test_what_an_earlier_kit_said_is_shown_until_there_is_a_report(survey: Path) -> None:
    shutil.copy(SURVEY / "earlier.json", survey / "earlier.json")
    said = "| loky.ProcessPoolExecutor | loky 3.7.0 | nonconformant | 18 | 30 | 445 |"
    assert said in made(markdown.page, survey)
    publish(survey, a_report("loky 3.7"), "loky", adapted=True)
    assert f"{said} conformant |" in made(markdown.page, survey)
    assert "<td>loky.ProcessPoolExecutor<td>" in made(html.page, survey)
    publish(survey, a_report("loky 3.7"), "loky")
    assert said not in made(markdown.page, survey)
    assert "<td>loky.ProcessPoolExecutor<td>" not in made(html.page, survey)


def test_the_history_says_what_a_version_changed(survey: Path) -> None:
    for version, broken in (("1.9", [BREAKABLE]), ("1.10", []), ("1.11", [BREAKABLE])):
        report = a_report(f"acme {version}")
        publish(survey, breaking(report, *broken) if broken else report, "acme")
    found = entries(survey / "results")
    assert [entry.version for entry in found] == ["1.9", "1.10", "1.11"]
    assert changes(found[0], found[1]) == ([BREAKABLE], [])
    assert changes(found[1], found[2]) == ([], [BREAKABLE])
    last = newest(found)
    assert last is not None
    assert last.version == "1.11"
    assert newest(found, adapted=True) is None
    told = " ".join((survey / "README.md").read_text(encoding="utf-8").split())
    assert f"1.10 on Python 3.14 no longer breaks `{BREAKABLE}`, compared with 1.9 on Python 3.14." in told
    assert f"1.11 on Python 3.14 breaks `{BREAKABLE}` in addition, compared with 1.10 on Python 3.14." in told


def test_overdue_rules_that_nobody_reproduced_are_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    report = a_report()
    for rule in report["rules"]:
        if rule["id"] in (BREAKABLE, "submitting.passes_a_keyword_called_fn"):
            rule |= {"outcome": "overdue", "message": "waited 9 s"}
        elif rule["outcome"] == "overdue":
            rule |= {"outcome": "failed"}
    monkeypatch.setattr("tools.survey.__main__.reproductions", lambda survey: {("stdlib-thread", BREAKABLE): "x.py"})
    subject = SUBJECTS["stdlib-thread"]
    again = look_again(report, "stdlib-thread", subject, adapted=False, deadline=30)
    assert [rule["id"] for rule in again["rules"] if rule["outcome"] == "overdue"] == [BREAKABLE]
    assert again["verdict"] == "nonconformant"
    assert reasons_against(SURVEY, again) == []


def test_rules_in_which_the_process_died_are_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier rule may have damaged the process; a rule that fails otherwise is not run again."""
    report = a_report()
    for rule in report["rules"]:
        if rule["id"] == BREAKABLE:
            rule |= {"outcome": "failed", "message": "the process that used the executor died: signal SIGSEGV"}
        elif rule["id"] == "submitting.passes_a_keyword_called_fn":
            rule |= {"outcome": "failed", "message": "it was not passed"}
        elif rule["outcome"] == "overdue":
            rule |= {"outcome": "failed"}
    monkeypatch.setattr("tools.survey.__main__.reproductions", lambda survey: {})
    again = look_again(report, "stdlib-thread", SUBJECTS["stdlib-thread"], adapted=False, deadline=30)
    assert {rule["id"]: rule["outcome"] for rule in again["rules"] if rule["level"] == "MUST"} == {
        rule["id"]: "passed" if rule["id"] == BREAKABLE else rule["outcome"]
        for rule in report["rules"]
        if rule["level"] == "MUST"
    }
    assert again["verdict"] == "nonconformant"
    assert reasons_against(SURVEY, again) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("acme/py3.14.json", "is not of the form"),
        ("acme/1.3/py3.14.json", "belongs to acme/1.2/py3.14.json"),
        ("acme/1.2/py3.13.json", "belongs to acme/1.2/py3.14.json"),
    ],
)
def test_a_report_at_a_wrong_place_is_an_error(survey: Path, place: str, said: str) -> None:
    file = survey / "results" / place
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(a_report()), encoding="utf-8")
    with pytest.raises(RegistryError, match=re.escape(said)):
        entries(survey / "results")


def test_free_threaded_python_has_a_name_of_its_own() -> None:
    report = a_report(python="CPython 3.13.5")
    report["environment"]["gil"] = "off"
    assert checked(SURVEY, "acme", report).path == "acme/1.2/py3.13t.json"


def test_both_pages_say_how_an_executor_was_made_and_what_was_seen_besides() -> None:
    subjects = [SUBJECTS[entry.executor] for entry in registry() if entry.executor in SUBJECTS]
    assert any(subject.note for subject in subjects)
    assert any(subject.seen for subject in subjects)
    for page in (markdown.page, html.page):
        told = " ".join(re.sub(r"</?code>|`", "", unescape(made(page, SURVEY))).split())
        for subject in subjects:
            assert subject.note.replace("`", "") in told
            assert subject.seen.replace("`", "") in told


def test_an_executor_has_an_adapted_form() -> None:
    assert SUBJECTS["stdlib-thread"].command("stdlib-thread", adapted=True) == ("tools.survey.adapted:stdlib_thread",)
    with adapted_form("stdlib_thread")(max_workers=1) as executor:
        assert not isinstance(executor, ThreadPoolExecutor)
        assert executor.submit(dict, fn=1, self=2).result() == {"fn": 1, "self": 2}
    with pytest.raises(AttributeError):
        adapted_form("nobody")


def test_the_factories_of_the_survey_exist() -> None:
    for slug, subject in SUBJECTS.items():
        module, _, name = subject.target.partition(":")
        if module == subjects_module.__name__:
            assert callable(getattr(subjects_module, name)), slug
        if subject.has_adapted_form:
            assert subject.command(slug, adapted=True)[0]


def test_the_page_of_the_site_has_each_executor_and_each_broken_rule() -> None:
    text = made(html.page, SURVEY)
    assert "$" not in re.sub(r"\$\{", "", text).split("<script>")[0]
    for executor, group in markdown.by_executor(registry()).items():
        bare = newest(group)
        if bare is None:  # an earlier kit has judged the bare form: see the table of those
            assert f"<td>{escape(SUBJECTS[executor].name)}<td>" in text
            continue
        assert f'<section class="executor" id="{executor}"' in text
        for rule in (*bare.broken("MUST"), *bare.broken("SHOULD")):
            assert f"<code>{rule['id']}</code>" in text
