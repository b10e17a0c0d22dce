"""One program, any backend: reads many web server logs at once, and tells what they say.

    COREFUTURES_BACKEND=thread|process|interpreter|dask python examples/log_analysis.py

The program itself names no backend, and its answer is the same on each; `--check` compares it with a plain loop's. The
logs are made up from a seed, so that the same command always reads the same lines.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import corefutures

#: (what, of what) → how often; sums of these are the answer for any number of logs.
Tally: TypeAlias = Counter[tuple[str, str]]

LINE = re.compile(
    r"(?P<client>\S+) - (?P<user>\S+) \[(?P<day>[^:]+):(?P<hour>\d\d):\d\d:\d\d\] "
    r'"(?P<method>[A-Z]+) (?P<path>/[^ ?]*)(?:\?\S*)?" (?P<status>\d{3}) (?P<bytes>\d+) (?P<milliseconds>\d+)ms'
)
ROUTES = ["/", "/search", "/login", "/cart", "/cart/checkout", "/items/{}", "/users/{}/orders", "/static/{}.css"]
STATUSES = [200, 200, 200, 200, 200, 200, 200, 304, 302, 404, 500, 503]
NUMBER = re.compile(r"\d+")
SLOW = [1 << power for power in range(15)]  # milliseconds: what the times are sorted into


def write_log(path: Path, lines: int, seed: str) -> None:
    """Makes up a log; one line in a hundred is damaged, as in real ones."""
    dice = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="\n") as log:
        for number in range(lines):
            client = f"10.0.{dice.randrange(2)}.{dice.randrange(250)}"
            route = dice.choice(ROUTES).format(dice.randrange(1000))
            moment = number * 86_400 // lines
            time_of_day = f"{moment // 3600:02}:{moment // 60 % 60:02}:{moment % 60:02}"
            milliseconds = int(dice.lognormvariate(3, 1)) + (800 if "checkout" in route else 0)
            line = (
                f'{client} - u{dice.randrange(500)} [01/Jun/2026:{time_of_day}] "GET {route}?v={number}" '
                f"{dice.choice(STATUSES)} {dice.randrange(50_000)} {milliseconds}ms"
            )
            log.write((line if dice.randrange(100) else line[: dice.randrange(40)]) + "\n")


def analyse(path: str) -> Tally:
    """What one log says: this is the work, it runs wherever the backend runs it."""
    tally: Tally = Counter()
    with open(path, encoding="utf-8") as log:
        for line in log:
            entry = LINE.match(line)
            if entry is None:
                tally["damaged", ""] += 1
                continue
            route = NUMBER.sub("N", entry["path"])
            tally["requests", route] += 1
            tally["bytes", route] += int(entry["bytes"])
            tally["errors", route] += entry["status"] >= "500"
            tally[f"at most {SLOW[bisect_left(SLOW, min(int(entry['milliseconds']), SLOW[-1]))]} ms", route] += 1
            tally["hour", entry["hour"]] += 1
            tally["client", entry["client"]] += 1
    return tally


def total(tallies: Iterable[Tally]) -> Tally:
    """The answer for all logs."""
    answer: Tally = Counter()
    for tally in tallies:
        answer.update(tally)
    return answer


def analyse_all(paths: Sequence[str]) -> Tally:
    """The only lines that know of executors; which one it is, COREFUTURES_BACKEND says."""
    return total(corefutures.default_executor().map(analyse, paths))


def served_within(answer: Tally, route: str, share: float) -> int:
    """The time in milliseconds within which that share of a route's requests were served."""
    counts = accumulate(answer[f"at most {limit} ms", route] for limit in SLOW)
    wanted = share * answer["requests", route]
    return next(limit for limit, count in zip(SLOW, counts, strict=True) if count >= wanted)


def report(answer: Tally) -> list[str]:
    """The answer as lines of text."""
    requests = Counter({name: count for (what, name), count in answer.items() if what == "requests"})
    lines = [f"{'route':<18}{'requests':>10}{'errors':>8}{'half within':>13}{'99 % within':>13}{'MB':>8}"]
    for route, count in sorted(requests.items(), key=lambda item: (-item[1], item[0])):
        half, most = (f"{served_within(answer, route, share)} ms" for share in (0.5, 0.99))
        errors, megabytes = answer["errors", route], answer["bytes", route] / 1e6
        lines.append(f"{route:<18}{count:>10}{errors:>8}{half:>13}{most:>13}{megabytes:>8.1f}")
    for kind in ("hour", "client"):
        counts = ((count, name) for (what, name), count in answer.items() if what == kind)
        count, name = max(counts, default=(0, "none"))
        lines.append(f"busiest {kind}: {name} with {count} requests")
    lines.append(f"damaged lines: {answer['damaged', '']}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Read many logs at once.", allow_abbrev=False)
    parser.add_argument("--files", type=int, default=16, metavar="N", help="how many logs (default: 16)")
    parser.add_argument("--lines", type=int, default=5000, metavar="N", help="in each log (default: 5000)")
    parser.add_argument("--seed", default="corefutures", help="what the logs are made from")
    parser.add_argument("--check", action="store_true", help="compare with a plain loop: answer and time")
    chosen = parser.parse_args(arguments)
    if min(chosen.files, chosen.lines) < 1:
        parser.error("files and lines must be positive numbers")
    with tempfile.TemporaryDirectory(prefix="log-analysis-") as folder:
        paths = [Path(folder, f"{number:04}.log") for number in range(chosen.files)]
        for path in paths:
            write_log(path, chosen.lines, f"{chosen.seed} {path.name}")
        names = list(map(str, paths))
        started = time.perf_counter()
        try:
            answer = analyse_all(names)
        except corefutures.BackendError as error:
            parser.exit(2, "; ".join([str(error), *getattr(error, "__notes__", [])]) + "\n")
        seconds = time.perf_counter() - started
        print(*report(answer), sep="\n")
        executor = type(corefutures.default_executor()).__name__
        print(f"{chosen.files} logs on a {executor}: {seconds:.2f} s with the start of its workers")
        if not chosen.check:
            return 0
        started = time.perf_counter()
        expected = total(map(analyse, names))
        loop_seconds = time.perf_counter() - started
    print(f"a plain loop: {loop_seconds:.2f} s; {'the same answer' if answer == expected else 'ANOTHER ANSWER'}")
    return 0 if answer == expected else 1


if __name__ == "__main__":
    sys.exit(main())
