"""Write the table of docs/interpreters.md: which of the packages most used load in interpreters, on each Python.

    python tools/interpreters_table.py --environments DIR PYTHON…

makes an environment for each PYTHON in DIR, installs there what has a wheel, checks it, and replaces the table.
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
from pathlib import Path
from typing import Final

from corefutures_tools._interpreting.checking import VERDICTS, Checker, Finding

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "interpreters.md"
BEGIN: Final = "<!-- the table, by tools/interpreters_table.py -->\n"
END: Final = "<!-- the end of the table -->\n"

#: Sixty distributions from among those that are downloaded most, without those that only build or install others.
_PACKAGES: Final = """
aiohttp anyio attrs beautifulsoup4 boto3 certifi cffi charset-normalizer click cryptography duckdb filelock gevent
google-auth greenlet grpcio httpx idna jinja2 jsonschema lxml markupsafe matplotlib msgpack networkx numba numpy
orjson packaging pandas pillow platformdirs pluggy polars protobuf psutil pyarrow pydantic pymongo pytest
python-dateutil pyyaml redis regex requests rich rpds-py scikit-learn scipy setuptools six sqlalchemy tqdm
typing-extensions urllib3 uvloop websockets wrapt yarl zstandard
"""

#: What programs import of packages that import little by themselves.
_PARTS: Final = {
    "cryptography": "cryptography.fernet",
    "lxml": "lxml.etree",
    "markupsafe": "markupsafe._speedups",
    "matplotlib": "matplotlib.pyplot",
    "pillow": "PIL.Image",
    "protobuf": "google.protobuf.descriptor",
    "websockets": "websockets.frames",
}

#: The verdicts, the worst first.
_ORDER: Final = ("crashes", "hangs", "refused", "fails", "unusable", "without", "differs", "loads")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", metavar="DIR", required=True, type=Path)
    parser.add_argument("--packages", metavar="NAME", nargs="*", default=_PACKAGES.split())
    parser.add_argument("pythons", metavar="PYTHON", nargs="+")
    parsed = parser.parse_args()
    columns: dict[str, dict[str, tuple[str, str]]] = {}
    for python in parsed.pythons:
        version, column = checked(python, parsed.environments, parsed.packages)
        columns[version] = column
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + "\n" + table(parsed.packages, columns) + "\n" + END + after, encoding="utf-8")


def checked(python: str, folder: Path, packages: list[str]) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the version of a Python, and for each package its version and what came of it."""
    short = output(python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))").strip()
    environment = folder / f"interpreters-{short}"
    if not environment.exists():
        subprocess.run([python, "-m", "venv", environment], check=True)
    own = str(environment / "bin" / "python")
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    checker = Checker(own, str(folder), 120.0)
    absent = {finding.module for finding in checker.modules_of(packages)[1]}
    for package in packages:
        if package in absent:
            subprocess.run([*pip, package], check=False)
    modules, lacking = checker.modules_of(packages)
    parts = {module: package for package, module in _PARTS.items() if package in packages}
    found: dict[str, list[Finding]] = {}
    for finding in checker.check([*modules, *parts], 3):
        package = parts.get(finding.module) or finding.distributions[0].partition(" ")[0]
        found.setdefault(package, []).append(finding)
        print(checker.version, *finding[:3], finding.error, flush=True)
    column = {each.module: ("", "has no wheel") for each in lacking}
    for package, findings in found.items():
        column[package] = findings[0].distributions[0].partition(" ")[2], verdict(findings)
    return checker.version, column


def verdict(findings: list[Finding]) -> str:
    """Return what the findings of a package's modules come to."""
    parts = _PARTS.values()
    public = [each for each in findings if each.module in parts or "._" not in f".{each.module}"]
    worst = min(public or findings, key=lambda each: _ORDER.index(each.verdict))
    private = [each for each in findings if each not in public and each.verdict != "loads"]
    if worst.verdict == "loads" and private:
        return f"without {private[0].module}"
    if worst.extensions:
        more = len(worst.extensions) - 1
        return f"{worst.verdict}: {worst.extensions[0]}" + (f" and {more} more" if more else "")
    return worst.verdict if worst.verdict == "loads" else f"{worst.verdict}: {worst.note}".replace("|", "/")[:100]


def table(packages: list[str], columns: dict[str, dict[str, tuple[str, str]]]) -> str:
    """Return the table in Markdown."""
    heads = [f"Python {version}" for version in columns]
    lines = [f"| package | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for package in packages:
        cells = []
        for column in columns.values():
            version, told = column[package]
            cells.append(f"{version}: {told}" if version else told)
        part = f" (`{_PARTS[package]}`)" if package in _PARTS else ""
        lines.append(f"| {package}{part} | {' | '.join(cells)} |")
    counts = []
    for version, column in columns.items():
        kinds = [told.partition(":")[0].partition(" ")[0] for _, told in column.values()]
        said = ", ".join(f"{kinds.count(kind)} {kind}" for kind in [*VERDICTS, "has"] if kinds.count(kind))
        counts.append(f"Python {version}: {said.replace('has', 'without a wheel')}.")
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return "\n".join([*lines, "", f"Checked on {today}, on Linux, x86-64.", *counts, ""])


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
