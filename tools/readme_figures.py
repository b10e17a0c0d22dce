"""Writes the figures of benchmarks/results/*.json into README.md and docs/, between two marks; `--check` only compares.

Touches nothing but `PAGES` and `DASK_PAGE`. The files are what `python -m benchmarks --json` wrote, unchanged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "figures.md")
DASK, DASK_PAGE = "dask.json", ROOT / "docs" / "scale.md"  # compared with another peer, on a page of its own
BEGIN, END = "<!-- figures: tools/readme_figures.py -->\n", "<!-- end of figures -->\n"


def shown(figure: float, unit: str = "") -> str:
    """Two or three significant digits, with the unit."""
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}".rstrip()


def cells(row: dict[str, Any]) -> Iterator[str]:
    """The cells of one measured row; empty where nothing was compared or promised."""
    yield row["what"]
    yield shown(statistics.median(row["ours"]), row["unit"])
    yield shown(statistics.median(row["against"]), row["unit"]) if row["against"] else ""
    yield f"{shown(row['ratio'])} ×" if row["ratio"] is not None else ""
    if row["at_least"] is not None:
        yield f"at least {row['at_least']:g} ×"
    elif row["at_most"] is not None:
        yield f"at most {shown(row['at_most'], row['unit'])} more ({shown(row['excess'])})"
    else:
        yield ""


def tables(result: dict[str, Any], beside: str = "standard library") -> Iterator[str]:
    """The lines of one result: a table for each sheet."""
    around = result["surroundings"]
    build = "free-threaded " if around["free_threaded"] else ""
    where = f"{build}{around['implementation']} {around['python']}, {around['system']}, {around['cpus']} CPUs"
    for sheet in result["sheets"]:
        yield f"**{sheet['title']}** ({where}; medians of {result['rounds']} rounds)"
        yield ""
        yield f"| what | corefutures | {beside} | times as good | promised |"
        yield "|---|---|---|---|---|"
        for row in sheet["rows"]:
            yield f"| {' | '.join(cells(row))} |"
        yield ""


def figures(results: Path, only: str | None = None) -> str:
    """All tables, in the order of the files' names; or those of one file."""
    files = [results / only] if only is not None else [path for path in results.glob("*.json") if path.name != DASK]
    beside = "Dask itself" if only == DASK else "standard library"
    lines = [
        line
        for path in sorted(files)
        if path.exists()
        for line in tables(json.loads(path.read_text(encoding="utf-8")), beside)
    ]
    return "\n".join(lines or ["No figures are committed; `make bench` measures.", ""])


def with_figures(page: str, results: Path, only: str | None = None) -> str:
    """The text of a page with the figures in their place.

    Raises:
        ValueError: The page lacks one of the two marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks a line {BEGIN!r} or {END!r}")
    return f"{before}{begin}\n{figures(results, only)}\n{end}{after}"


def main() -> int:
    """Returns the exit status: 1 if --check finds a page out of date."""
    parser = argparse.ArgumentParser(description="Write the benchmark's figures into README.md and docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    check = parser.parse_args().check
    results = ROOT / "benchmarks" / "results"
    for page in (*PAGES, *([DASK_PAGE] if (results / DASK).exists() else [])):
        text = page.read_text(encoding="utf-8")
        wanted = with_figures(text, results, DASK if page == DASK_PAGE else None)
        if check and text != wanted:
            print(f"{page.name} is out of date: run `python tools/readme_figures.py`", file=sys.stderr)
            return 1
        if not check:
            page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
