"""Writes the figures of benchmarks/results/*.json into README.md, between two marks; `--check` only compares.

Touches nothing but README.md. Each JSON file is a table: `title`, `python`, `machine`, and `rows` of `what`,
`ours`, `standard`, `unit`, `ratio` (how many times as good as the standard library), `at_least` (the goal).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: tools/readme_figures.py -->\n", "<!-- end of figures -->\n"


def shown(value: float | None, unit: str = "") -> str:
    """Two or three significant digits with the unit; nothing for what was not measured."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def table(result: dict[str, Any]) -> Iterator[str]:
    """The lines of one result's table."""
    yield f"**{result['title']}** ({result['python']}, {result['machine']})"
    yield ""
    yield "| what | corefutures | standard library | times as good | goal |"
    yield "|---|---|---|---|---|"
    for row in result["rows"]:
        sides = (shown(row.get(side), row.get("unit", "")) for side in ("ours", "standard"))
        cells = row["what"], *sides, shown(row.get("ratio")), shown(row.get("at_least"))
        yield f"| {' | '.join(cells)} |"


def figures(results: Path) -> str:
    """All tables, in the order of the files' names."""
    tables = [
        "\n".join(table(json.loads(path.read_text(encoding="utf-8"))))
        for path in sorted(results.glob("*.json"))
    ]
    return "\n\n".join(tables or ["No figures are committed; `make bench` measures."]) + "\n"


def with_figures(readme: str, results: Path) -> str:
    """The text of the README with the figures in their place.

    Raises:
        ValueError: The README lacks one of the two marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks a line {BEGIN!r} or {END!r}")
    return f"{before}{begin}\n{figures(results)}\n{end}{after}"


def main() -> int:
    """Returns the exit status: 1 if --check finds the README out of date."""
    parser = argparse.ArgumentParser(description="Write the benchmark's figures into README.md.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the README is out of date"
    )
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    wanted = with_figures(text, ROOT / "benchmarks" / "results")
    if check and text != wanted:
        print("README.md is out of date: run `python tools/readme_figures.py`", file=sys.stderr)
        return 1
    if not check:
        readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
