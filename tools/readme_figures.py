"""Write the figures of benchmarks/results/*.json into README.md and docs/figures.md; `--check` only compares.

Touches these two pages, between two marks. README.md gets the rows that `README_ROWS` selects and the worst row of each
kind of pool; docs/figures.md gets every row. The files of results are what
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
SUITES = (
    "real",
    "real-loaded",
    "real-free-threaded",
    "peers",
    "thread",
    "process",
    "interpreter",
    "dask",
    "instructions",
)
PEERS = {"dask": "Dask itself"}
#: The suite whose rows README.md shows, and the same one measured beside busy loops.
MAIN, LOADED = SUITES[:2]
#: The rows of README.md for each kind of pool, as far as it has them. Its worst row comes besides.
README_ROWS = (
    "a tiny function of a module",
    "a function of the main module",
    "a dataclass as argument",
    "a call that raises",
    "100 KB of bytes, there and back",
    "an array of 64 MB there",
    "a window of 16, the standard wait",
    "the standard as_completed",
    "run_in_executor, one by one",
    "submit and wait, median",
    "make a pool, one call, end it",
)


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
    beside = f", beside {around['busy_loops']} busy loops" if around.get("busy_loops") else ""
    return f"{where}{beside}; medians of {result['rounds']} rounds"


def tables(result: dict[str, Any], peer: str) -> Iterator[str]:
    """Yield the lines of one result: a table for each sheet."""
    for sheet in result["sheets"]:
        yield f"**{sheet['title']}** ({measured_on(result)})"
        yield ""
        if sheet["suite"] == "peers":
            yield from table_of_peers(sheet)
            continue
        yield f"| benchmark | corefutures | {peer} | factor | promised |"
        yield "|---|---|---|---|---|"
        for row in sheet["rows"]:
            yield f"| {' | '.join(cells(row))} |"
        yield ""


def table_of_peers(sheet: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table with a column for each library."""
    names = list(sheet["rows"][0]["others"])
    yield f"| {sheet['rows'][0]['unit']} | corefutures | standard library | {' | '.join(names)} |"
    yield f"|---|---|---|{'---|' * len(names)}"
    for row in sheet["rows"]:
        costs = [row["ours"], row["against"], *(row["others"][name] for name in names)]
        yield f"| {row['what']} | {' | '.join(shown(statistics.median(cost)) for cost in costs)} |"
    yield ""


def all_tables(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of docs/figures.md."""
    for suite, result in results.items():
        yield from tables(result, PEERS.get(suite, "standard library"))


def selection(results: dict[str, Any], rows: Sequence[str] = README_ROWS) -> Iterator[str]:
    """Yield the lines of README.md: the factors of the selected rows, and the worst row of each kind of pool.

    Raises:
        ValueError: A selected row is not among the results.
    """
    factors, loaded = (_factors(results[suite]) for suite in (MAIN, LOADED))
    worst = [min(measured, key=lambda what: measured[what]) for measured in factors.values()]
    shown_rows = [*rows, *dict.fromkeys(what for what in worst if what not in rows)]
    if missing := [what for what in rows if not any(what in measured for measured in factors.values())]:
        raise ValueError(f"not among the results: {missing}")
    yield f"| the call | {' | '.join(factors)} |"
    yield f"|---|{'---|' * len(factors)}"
    for what in shown_rows:
        line = []
        for pool, worst_row in zip(factors, worst, strict=True):
            factor, beside = factors[pool].get(what), loaded.get(pool, {}).get(what)
            text = "" if factor is None else f"{shown(factor)} ×"
            text += "" if beside is None else f" ({shown(beside)} ×)"
            line.append(f"**{text}**" if what == worst_row else text)
        yield f"| {what} | {' | '.join(line)} |"
    yield ""
    yield f"Measured on {measured_on(results[MAIN])}; in brackets beside a busy loop on each core."
    yield "Bold: the worst row of each column."
    yield ""


def _factors(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the factors by kind of pool and row."""
    return {
        sheet["title"].partition(":")[0].lower(): {
            row["what"]: row["ratio"] for row in sheet["rows"] if row["ratio"] is not None
        }
        for sheet in result["sheets"]
    }


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
