#!/bin/sh
# Dask's executor runs equal calls once, and keeps some of the function's keywords for itself.
#
# Client.get_executor() returns a concurrent.futures.Executor, for code that is written for that interface. Three
# submissions of the same call are three runs of it there. Dask's executor treats calls as pure unless told otherwise: a
# call that equals one whose future is alive gets that one's result, so that a function called for its effect (a line in
# a log, a request that is sent) runs once for three submissions, and three clock readings are one. `map` with equal
# items does the same. And submit() passes on every keyword to the client, which takes those that it knows: a function
# with parameters called `key`, `retries` or `priority` runs without them, with its defaults. No error, no warning.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0

cat >"$work/probe.py" <<'PY'
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import distributed


def log(path, line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return time.perf_counter_ns()


def describe(item, *, key="none", retries=0, priority=0):
    return item, key, retries, priority


def measure(executor, path):
    futures = [executor.submit(log, path, "sent") for _ in range(3)]
    results = [future.result(30) for future in futures]
    mapped = list(executor.map(log, [path] * 3, ["filed"] * 3))
    with open(path, encoding="utf-8") as file:
        lines = file.read().split()
    runs = lines.count("sent"), len(set(results)), lines.count("filed"), len(set(mapped))
    return runs, executor.submit(describe, "x", key="k", retries=2).result(30)


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, distributed {distributed.__version__}")
    with ThreadPoolExecutor(1) as pool:
        standard = measure(pool, sys.argv[1] + "-standard")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        dask = measure(client.get_executor(), sys.argv[1] + "-dask")
    print("expected: 3 lines and 3 results of 3 calls by submit, and by map; describe() sees its keywords")
    print(f"seen: ThreadPoolExecutor: {standard}")
    print(f"seen: Client.get_executor(): {dask}")
    assert standard == ((3, 3, 3, 3), ("x", "k", 2, 0)), standard
    assert dask == ((1, 1, 1, 1), ("x", "none", 0, 0)), dask
PY
"$work/venv/bin/python" -W ignore "$work/probe.py" "$work/log"
