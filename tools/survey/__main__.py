"""Certify the named subjects, and write survey/README.md from survey/results/*.json; `--check` only compares.

The subjects' distributions belong into an environment of their own; an error names those that are missing. A result
keeps the verdict, the capabilities and the broken rules. A broken MUST is published only with a reproduction by hand:
a function in survey/reproductions/*.py whose docstring names the subjects and the rules.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from corefutures_conformance.executor_tests import RULES
from tools.survey.subjects import SUBJECTS, Subject

ROOT = Path(__file__).resolve().parents[2]
SURVEY = ROOT / "survey"
PAGE = SURVEY / "README.md"
BAD = ("failed", "overdue")
STATEMENTS = {rule.id: rule.statement for rule in RULES.values()}

PREFACE = """\
# How conformant is everybody?

Verdicts of [the conformance kit](../docs/certify.md) on executors that many programs use, and on ours.
`python -m tools.survey` generates this page from the kit's results in `survey/results`; do not edit it. Rules from the
manual of `concurrent.futures` or from PEP 3148 (MUST) decide the verdict. Rules from
[our own promises](../docs/promises.md) beyond them (SHOULD) are advice for other executors; they are counted here to
show which executors do more than they must.

An executor that was not made as a drop-in replacement is not worse for breaking a rule. The page shows which
differences to expect when one executor takes the place of another. **Every broken MUST was reproduced by hand**,
without the kit, in a few lines that anybody can run; the link is beside the rule. One cause may break many rules.

To repeat the survey, run `pip install loky joblib distributed mpi4py mpich executorlib more-executors pebble` beside
corefutures and its backends. Then run `python -m tools.survey NAME…` in the repository; without a name it only writes
this page. After 10 overdue rules the kit gives up, and the remaining rules are not run.

"""


def certify(slug: str, subject: Subject, deadline: float, rules: str = "") -> dict[str, Any]:
    """Run the kit, or some of its rules, on a subject; return the part of the report that is kept."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")
        command = [sys.executable, "-m", "corefutures", "conformance", subject.target, *subject.arguments]
        # mpiexec, for instance, is installed beside the interpreter, whose folder need not be on the path.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
        subprocess.run(
            [*command, "--timeout", f"{deadline:g}", "--json", str(file), "-k", rules],
            cwd=ROOT, env={**os.environ, "PATH": path}, check=False,
        )  # fmt: skip
        if not file.exists():
            raise SystemExit(f"{slug} could not be certified")
        return kept(json.loads(file.read_text(encoding="utf-8")), subject.version())


def look_again(slug: str, subject: Subject, deadline: float) -> dict[str, Any]:
    """Run overdue rules without a reproduction once more, each alone: the machine may have been busy."""
    result: dict[str, Any] = json.loads((SURVEY / "results" / f"{slug}.json").read_text(encoding="utf-8"))
    shown = reproductions(SURVEY)
    doubtful = [rule for rule in result["broken"] if rule["outcome"] == "overdue" and (slug, rule["id"]) not in shown]
    for rule in doubtful:
        again = certify(slug, subject, deadline, rule["id"])
        outcomes = Counter(again["outcomes"])
        if not any(outcomes[f"{rule['level']} {how}"] for how in BAD) and outcomes[f"{rule['level']} passed"]:
            result["broken"].remove(rule)
            result["outcomes"] = Counter(result["outcomes"])
            result["outcomes"].update({f"{rule['level']} passed": 1, f"{rule['level']} overdue": -1})
    return result


def installed(distribution: str) -> bool:
    """Return whether the environment has a distribution."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def kept(report: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the part of the kit's report that the survey keeps."""
    environment = report["environment"]
    return {
        "target": report["target"],
        "version": version or environment["python"],
        "python": environment["python"],
        "verdict": report["verdict"],
        "capabilities": report["capabilities"],
        "outcomes": Counter(f"{rule['level']} {rule['outcome']}" for rule in report["rules"]),
        "broken": [
            {"id": rule["id"], "level": rule["level"], "outcome": rule["outcome"], "message": readable(rule["message"])}
            for rule in report["rules"]
            if rule["outcome"] in (*BAD, "expected-failure")
        ],
    }


def readable(message: str, most: int = 160) -> str:
    """Return a message in one line, without the parts that differ from run to run."""
    text = re.sub(r"(?<![\w/])/[\w./-]+/", "…/", re.sub(r" at 0x[0-9a-f]+", "", " ".join(message.split())))
    return text if len(text) <= most else text[: most - 1] + "…"


def reproductions(folder: Path) -> dict[tuple[str, str], str]:
    """Return the script that reproduces a broken rule, by slug and rule: see the docstrings, `slug…: rule…`."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("reproductions/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and ":" in (text := ast.get_docstring(node) or ""):
                slugs, _, rules = text.partition("\n\n")[0].partition(":")
                found |= {(slug, rule): path.name for slug in slugs.split() for rule in rules.split()}
    return found


def page(folder: Path) -> str:
    """Return the page on all results in the survey's folder."""
    results = {
        slug: json.loads(path.read_text(encoding="utf-8"))
        for slug in SUBJECTS
        if (path := folder / "results" / f"{slug}.json").exists()
    }
    shown = reproductions(folder)
    return PREFACE + "\n".join([*overview(results), *sections(results, shown)]) + "\n"


def overview(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of all subjects."""
    yield "| executor | version | verdict | MUST broken | SHOULD broken | rules kept |"
    yield "|---|---|---|---|---|---|"
    for slug, result in results.items():
        outcomes = Counter(result["outcomes"])
        must, should = (sum(outcomes[f"{level} {how}"] for how in BAD) for level in ("MUST", "SHOULD"))
        known = sum(outcomes[f"{level} expected-failure"] for level in ("MUST", "SHOULD"))
        passed = sum(outcomes[f"{level} passed"] for level in ("MUST", "SHOULD", "MAY"))
        name = SUBJECTS[slug].name
        more = f" (+{known} known)" if known else ""
        yield (
            f"| [{name}](#{slug}) | {result['version']} | {result['verdict']} | {must or ''} | {should or ''}{more} "
            f"| {passed} |"
        )
    pythons = ", ".join(sorted({result["python"] for result in results.values()}))
    yield ""
    yield f"On {pythons}, Linux. “Known” counts failures that the kit expects, because of a known issue."


def sections(results: dict[str, dict[str, Any]], shown: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield the lines on each executor.

    Raises:
        ValueError: when a broken MUST has no reproduction.
    """
    for slug, result in results.items():
        subject = SUBJECTS[slug]
        yield f'\n<a id="{slug}"></a>\n\n## {subject.name}\n'
        has = ", ".join(f"`{name}`" for name, value in result["capabilities"].items() if value) or "none"
        lines = [f"{result['version']}: **{result['verdict']}**.", f"Capabilities: {has}."]
        if subject.note:
            lines.append(f"How it was made: {subject.note}.")
        yield wrapped(" ".join(lines))
        must = [rule for rule in result["broken"] if rule["level"] == "MUST" and rule["outcome"] in BAD]
        missing = [rule["id"] for rule in must if (slug, rule["id"]) not in shown]
        if missing:
            raise ValueError(f"{slug} breaks {missing}, and no script in survey/reproductions reproduces it")
        if must:
            yield "\n| broken rule | what happened | reproduction |\n|---|---|---|"
            for rule in must:
                script = f"[{shown[slug, rule['id']]}](reproductions/{shown[slug, rule['id']]})"
                what = rule["message"].replace("|", "\\|").replace("<", "&lt;")
                yield f"| {STATEMENTS.get(rule['id'], '')} `{rule['id']}` | {what} | {script} |"
        should = [rule["id"] for rule in result["broken"] if rule["level"] == "SHOULD" and rule["outcome"] in BAD]
        if should:
            yield "\n" + wrapped(f"Broken SHOULD: {', '.join(f'`{rule}`' for rule in should)}.")
        known = [rule["id"] for rule in result["broken"] if rule["outcome"] == "expected-failure"]
        if known:
            yield "\n" + wrapped(f"Known failures: {', '.join(f'`{rule}`' for rule in known)}.")


def wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 118 characters."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def main() -> int:
    """Certify and write, or compare."""
    parser = argparse.ArgumentParser(prog="python -m tools.survey", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="NAME", help=f"the subjects to certify: {', '.join(SUBJECTS)}")
    parser.add_argument("--deadline", type=float, default=15.0, help="seconds for each rule")
    parser.add_argument(
        "--again", action="store_true", help="run only overdue rules without a reproduction, each rule alone"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    options = parser.parse_args()
    if unknown := set(options.subjects) - set(SUBJECTS):
        parser.error(f"no subject is called {', '.join(sorted(unknown))}")
    chosen = [SUBJECTS[slug] for slug in options.subjects]
    missing = sorted({name for subject in chosen for name in subject.requires if not installed(name)})
    if missing:
        parser.error(f"not installed here: {', '.join(missing)}; try: pip install {' '.join(missing)}")
    (SURVEY / "results").mkdir(exist_ok=True)
    for slug in options.subjects:
        result = (look_again if options.again else certify)(slug, SUBJECTS[slug], options.deadline)
        (SURVEY / "results" / f"{slug}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = page(SURVEY)
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is not current: run python -m tools.survey", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
