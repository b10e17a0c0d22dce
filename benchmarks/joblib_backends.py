"""joblib on corefutures beside loky, its own backend: a first result, tiny calls, a grid search, a large argument.

Each measurement runs in a process of its own, which has imported what it needs. Two workers. The grid search needs
scikit-learn.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

from benchmarks.measuring import Row, Sheet

SET_UP = """
import time, joblib, numpy, corefutures_joblib
from joblib import Parallel, delayed
from operator import neg
parallel = lambda: Parallel(n_jobs=2)
def first(): parallel()(delayed(neg)(number) for number in range(2))
def tiny(): parallel()(delayed(neg)(number) for number in range(10_000))
def large():
    array = numpy.ones(25_000_000)
    return lambda: parallel()(delayed(numpy.take)(array, number) for number in range(100))
def search():
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    points, classes = make_classification(n_samples=200, random_state=0)
    models = GridSearchCV(LogisticRegression(), {"C": [10.0**k for k in range(-10, 10)]}, n_jobs=2, cv=5)
    return lambda: models.fit(points, classes)
"""
PROGRAM = """
if __name__ == "__main__":
    with joblib.parallel_config(backend=%r):
        %s
        began = time.perf_counter()
        work()
        print(time.perf_counter() - began)
    corefutures_joblib.shutdown()
"""
#: What is measured → what makes `work`; a first, cold run or a warm one.
CASES = {
    "first result of a cold Parallel": "work = first",
    "10,000 tiny calls": "first(); work = tiny",
    "a grid search over 100 small models": "first(); work = search()",
    "a 200 MB array in 100 calls": "first(); work = large()",
}


def run(backend: str, case: str) -> float:
    """Returns the milliseconds of a case."""
    program = SET_UP + PROGRAM % (backend, CASES[case])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    return float(done.stdout) * 1e3


def rows() -> Iterator[Row]:
    for case in CASES:
        if "search" not in case or find_spec("sklearn") is not None:
            yield Row(what=case, unit="ms", ours=partial(run, "corefutures", case), against=partial(run, "loky", case))


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="joblib on corefutures, beside loky", rows=rows)
