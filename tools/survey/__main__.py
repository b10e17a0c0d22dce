"""The survey of executors: certify one (`run`), add a report (`add`), write the pages (`page`).

`run` certifies executors that tools/survey/subjects.py names, in the environment that runs it. `add` takes a report
file that anybody made; it is verified first. Both store the report in the registry, survey/results, and write
survey/README.md anew. A broken MUST is published only with a reproduction by hand: a function in
survey/reproductions/*.py whose docstring names the executors and the rules.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from tools.survey import html, markdown
from tools.survey.registry import Entry, RegistryError, Report, checked, earlier, entries, store
from tools.survey.reproductions import reproductions, without_reproduction
from tools.survey.subjects import SUBJECTS, Subject

ROOT = Path(__file__).resolve().parents[2]
SURVEY = ROOT / "survey"
DIED = "the process that used the executor died"


def certify(slug: str, subject: Subject, *, adapted: bool, deadline: float, file: Path, rules: str = "") -> None:
    """Run the kit, or some of its rules, on a form of a subject, and have it write its report.

    Raises:
        RegistryError: There is no report.
    """
    command = [sys.executable, "-m", "corefutures", "conformance", *subject.command(slug, adapted=adapted)]
    # mpiexec, for instance, is installed beside the interpreter, whose folder need not be on the path.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    subprocess.run(
        [*command, "--timeout", f"{deadline:g}", "--json", str(file), "-k", rules],
        cwd=ROOT, env={**os.environ, "PATH": path}, check=False,
    )  # fmt: skip
    if not file.exists():
        raise RegistryError(f"{slug} could not be certified")


def look_again(report: Report, slug: str, subject: Subject, *, adapted: bool, deadline: float) -> Report:
    """Run overdue rules without a reproduction once more, each alone: the machine may have been busy.

    So are rules in which the process died: an earlier rule may have damaged it. That it died is told by `Subject.seen`.

    Returns:
        The report with the outcomes of the rules that passed this time, and the verdict that follows.
    """
    from corefutures_conformance.reporting.stored import recomputed

    shown = reproductions(SURVEY)
    rules = []
    for rule in report["rules"]:
        doubtful = rule["outcome"] == "overdue" or (rule["outcome"] == "failed" and rule["message"].startswith(DIED))
        if doubtful and (adapted or (slug, rule["id"]) not in shown):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "report.json")
                certify(slug, subject, adapted=adapted, deadline=deadline, file=file, rules=rule["id"])
                found = {one["id"]: one for one in json.loads(file.read_text(encoding="utf-8"))["rules"]}
            if found[rule["id"]]["outcome"] == "passed":
                rule = found[rule["id"]]
        rules.append(rule)
    again = {**report, "rules": rules}
    return again if report["gave_up"] else {**again, "verdict": recomputed(again)}


def installed(distribution: str) -> bool:
    """Return whether the environment has a distribution."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def read(file: Path) -> Report:
    """Return the report of a file.

    Raises:
        RegistryError: There is none, or more than one.
    """
    from corefutures_conformance.reporting.stored import ReportError, read_reports

    try:
        reports = read_reports(file)
    except ReportError as error:
        raise RegistryError(str(error)) from error
    if len(reports) != 1:
        raise RegistryError(f"{file} has {len(reports)} targets; a report on one is needed")
    return reports[0]


def publish(survey: Path, report: Report, slug: str, *, adapted: bool = False, distribution: str = "") -> Entry:
    """Verify a report, store it in the registry, and write the page anew.

    A report that breaks a MUST without a reproduction is not stored.

    Raises:
        RegistryError: The report is not stored; the message says why.
    """
    entry = checked(survey, slug, report, adapted=adapted, distribution=distribution)
    if missing := without_reproduction([entry], reproductions(survey)):
        rules = " ".join(missing[slug])
        raise RegistryError(
            f"{slug} breaks rules that no script in survey/reproductions shows by hand: write a function whose "
            f'docstring is "{slug}: {rules}"'
        )
    store(survey, entry)
    write(survey)
    return entry


def write(survey: Path) -> None:
    """Write the page in Markdown anew."""
    (survey / "README.md").write_text(made(markdown.page, survey), encoding="utf-8")


def made(page: Callable[..., str], survey: Path) -> str:
    """Return a page on what a survey's folder has."""
    found = entries(survey / "results")
    return page(found, reproductions(survey), earlier(survey, found))


def _run(options: argparse.Namespace) -> int:
    if unknown := set(options.subjects) - set(SUBJECTS):
        raise RegistryError(f"no subject is called {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    chosen = {slug: SUBJECTS[slug] for slug in options.subjects}
    if options.adapted and (ours := [slug for slug, subject in chosen.items() if not subject.has_adapted_form]):
        raise RegistryError(f"{', '.join(ours)}: an executor of corefutures has no adapted form")
    missing = sorted({name for subject in chosen.values() for name in subject.requires if not installed(name)})
    if missing:
        raise RegistryError(f"not installed here: {', '.join(missing)}; try: pip install {' '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        for slug, subject in chosen.items():
            file = options.begun or Path(options.keep or folder, f"{slug}{'.adapted' if options.adapted else ''}.json")
            if not options.begun:
                certify(slug, subject, adapted=options.adapted, deadline=options.deadline, file=file)
            report = look_again(read(file), slug, subject, adapted=options.adapted, deadline=options.deadline)
            print(publish(SURVEY, report, slug, adapted=options.adapted, distribution=subject.version()).path)
    return 0


def _add(options: argparse.Namespace) -> int:
    subject = SUBJECTS.get(options.executor)
    distribution = options.distribution
    if not distribution and subject is not None and subject.distribution and installed(subject.distribution):
        distribution = subject.version()
    entry = publish(SURVEY, read(options.report), options.executor, adapted=options.adapted, distribution=distribution)
    print(entry.path)
    return 0


def _page(options: argparse.Namespace) -> int:
    if options.html is not None:
        options.html.write_text(made(html.page, SURVEY), encoding="utf-8")
    elif not options.check:
        write(SURVEY)
    elif (SURVEY / "README.md").read_text(encoding="utf-8") != made(markdown.page, SURVEY):
        raise RegistryError("survey/README.md is not current: run python -m tools.survey page")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.survey", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("run", help="certify executors of the survey, and add the reports")
    run.add_argument("subjects", nargs="+", metavar="NAME", help=f"the executors: {', '.join(SUBJECTS)}")
    run.add_argument("--adapted", action="store_true", help="through adapt")
    run.add_argument("--deadline", type=float, default=15.0, help="seconds for each rule")
    run.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the kit's reports in a folder")
    run.add_argument(
        "--begun", type=Path, metavar="REPORT", help="take this report, and run only its doubtful rules once more"
    )
    run.set_defaults(run=_run)

    adding = commands.add_parser("add", help="verify the report of a file, and add it")
    adding.add_argument("executor", metavar="NAME", help="the executor's folder in survey/results")
    adding.add_argument("report", type=Path, metavar="REPORT", help="a report in JSON: corefutures conformance --json")
    adding.add_argument("--adapted", action="store_true", help="the report is on the executor through adapt")
    adding.add_argument(
        "--distribution", default="", metavar="'NAME VERSION'",
        help="what the target is installed as, if the report does not say it",
    )  # fmt: skip
    adding.set_defaults(run=_add)

    page = commands.add_parser("page", help="write survey/README.md anew")
    page.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    page.add_argument("--html", type=Path, metavar="FILE", help="write the page of the site instead")
    page.set_defaults(run=_page)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except RegistryError as error:
        print(f"survey: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
