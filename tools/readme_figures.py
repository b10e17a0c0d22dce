"""Write the figures of benchmarks/results/*.json into README.md and docs/figures.md; `--check` only compares.

Touches these two pages, between two marks. README.md gets the rows that `README_ROWS` selects and the worst row of all
that compare with the standard library; docs/figures.md gets every row. The files of results are what
`python -m benchmarks --json` wrote, unchanged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: tools/readme_figures.py -->\n", "<!-- end of figures -->\n"
#: The suites in the order of docs/figures.md. One compares with another peer than the standard library.
SUITES = ("thread", "process", "interpreter", "dask", "instructions")
PEERS = {"dask": "Dask itself"}
#: The rows of README.md: suite, the row's `what`, and what README.md calls it. The worst row comes besides.
README_ROWS = (
    ("thread", "submit 20,000 tiny calls, read all results", "submit tiny calls, read all results"),
    ("thread", "submit one, wait for it, repeat", "submit one call and wait for it"),
    ("process", "submit 5,000 tiny calls, read all results", "submit tiny calls, read all results"),
    ("process", "submit one, wait for it, repeat", "submit one call and wait for it"),
    ("process", "send a NumPy array of 64 MB", "send a NumPy array of 64 MB"),
    ("process", "memory for each pending call", "memory for each pending call"),
    ("interpreter", "submit 5,000 tiny calls, read all results", "submit tiny calls, read all results"),
)
#: What the names of rows have in them that compare corefutures with itself, as in "1,000,000 calls beside 100,000".
NO_PEER = "beside 1"
POOLS = {"thread": "threads", "process": "processes", "interpreter": "interpreters"}


def shown(figure: float, unit: str = "") -> str:
    """Format a figure: two or three significant digits, with the unit."""
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}".rstrip()


def medians(row: dict[str, Any]) -> Iterator[str]:
    """Yield both medians of a row and their ratio; empty where nothing was compared."""
    yield shown(statistics.median(row["ours"]), row["unit"])
    yield shown(statistics.median(row["against"]), row["unit"]) if row["against"] else ""
    yield f"{shown(row['ratio'])} ×" if row["ratio"] is not None else ""


def cells(row: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of one row of docs/figures.md."""
    yield row["what"]
    yield from medians(row)
    if row["at_least"] is not None:
        yield f"at least {row['at_least']:.3g} ×"
    elif row["at_most"] is not None:
        yield f"at most {shown(row['at_most'], row['unit'])} more ({shown(row['excess'])})"
    else:
        yield ""


def measured_on(result: dict[str, Any]) -> str:
    """Return the Python, the system and the number of rounds of a result."""
    around = result["surroundings"]
    build = "free-threaded " if around["free_threaded"] else ""
    where = f"{build}{around['implementation']} {around['python']}, {around['system']}, {around['cpus']} CPUs"
    return f"{where}; medians of {result['rounds']} rounds"


def tables(result: dict[str, Any], peer: str) -> Iterator[str]:
    """Yield the lines of one result: a table for each sheet."""
    for sheet in result["sheets"]:
        yield f"**{sheet['title']}** ({measured_on(result)})"
        yield ""
        yield f"| benchmark | corefutures | {peer} | factor | promised |"
        yield "|---|---|---|---|---|"
        for row in sheet["rows"]:
            yield f"| {' | '.join(cells(row))} |"
        yield ""


def all_tables(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of docs/figures.md."""
    for suite, result in results.items():
        yield from tables(result, PEERS.get(suite, "standard library"))


def selection(results: dict[str, Any], rows: Sequence[tuple[str, str, str]] = README_ROWS) -> Iterator[str]:
    """Yield the lines of README.md: the selected rows, and the worst of all that compare with the standard library.

    Raises:
        ValueError: A selected row is not among the results.
    """
    measured = {
        (suite, row["what"]): row
        for suite, result in results.items()
        if suite not in PEERS
        for sheet in result["sheets"]
        for row in sheet["rows"]
        if row["ratio"] is not None and NO_PEER not in row["what"]
    }
    worst = min(measured, key=lambda key: float(measured[key]["ratio"]))
    named = {(suite, what): name for suite, what, name in rows} | {worst: f"{worst[1]} (the worst row)"}
    if missing := [key for key in named if key not in measured]:
        raise ValueError(f"not among the results: {missing}")
    yield "| pool of | benchmark | corefutures | standard library | factor |"
    yield "|---|---|---|---|---|"
    for (suite, what), name in named.items():
        yield f"| {' | '.join((POOLS[suite], name, *medians(measured[suite, what])))} |"
    yield ""
    yield f"Measured on {' and on '.join(sorted({measured_on(results[suite]) for suite, _ in named}))}."
    yield ""


def read(folder: Path) -> dict[str, Any]:
    """Return the committed results, by suite, in the order of the page."""
    files = {path.stem: path for path in folder.glob("*.json")}
    ordered = [suite for suite in (*SUITES, *sorted(files.keys() - set(SUITES))) if suite in files]
    return {suite: json.loads(files[suite].read_text(encoding="utf-8")) for suite in ordered}


def with_lines(page: str, lines: Iterator[str]) -> str:
    """Return the text of a page with these lines between the marks.

    Raises:
        ValueError: The page lacks one of the two marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks a line {BEGIN!r} or {END!r}")
    text = "\n".join(lines)
    return f"{before}{begin}\n{text}\n{end}{after}"


def main() -> int:
    """Write or compare; return the exit status: 1 if --check finds a page out of date."""
    parser = argparse.ArgumentParser(description="Write the benchmarks' figures into README.md and docs/figures.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    check = parser.parse_args().check
    results = read(ROOT / "benchmarks" / "results")
    for page, lines in {ROOT / "README.md": selection, ROOT / "docs" / "figures.md": all_tables}.items():
        text = page.read_text(encoding="utf-8")
        wanted = with_lines(text, lines(results))
        if check and text != wanted:
            print(f"{page.name} is out of date: run `python tools/readme_figures.py`", file=sys.stderr)
            return 1
        if not check:
            page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
