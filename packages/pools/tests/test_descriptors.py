"""Ours are never 0, 1 or 2, which a program may have closed: what is printed would end up in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corefutures_pools.descriptors import above_standard, standard_reserved

PROGRAM = Path(__file__).with_name("closed_streams.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to look at descriptors")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("way", ["shared_queue", "pipes"])
@pytest.mark.parametrize("backend", ["process", "interpreter"])
def test_a_program_without_some_streams(tmp_path, closed, way, backend):
    run_program(tmp_path, closed, way, backend)


@pytest.mark.parametrize("way", ["shared_queue", "pipes"])
def test_none_is_ours_if_it_could_not_be_taken(tmp_path, way):
    run_program(tmp_path, (0, 1, 2), way, "interpreter", "untaken")


def run_program(tmp_path, closed, way, backend, *how):
    if backend == "interpreter" and sys.version_info < (3, 14):
        pytest.skip("needs concurrent.interpreters, from Python 3.14 on")
    report = tmp_path / "report"
    errors = (tmp_path / "errors").open("w")  # files: a pipe that a test reads would be taken for one of ours
    redirections = " ".join(f"{number}>&-" for number in closed)
    environment = {**os.environ, "COREFUTURES_PORTABLE": "1" if way == "pipes" else "0"}
    subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, str(PROGRAM), str(report), backend, *how],
        env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, timeout=55, check=False,
    )  # fmt: skip
    errors.close()
    assert report.exists(), (tmp_path / "errors").read_text()
    assert report.read_text() == "right"


RUN = """
import os, sys
sys.path[:0] = {path!r}
from corefutures_pools.descriptors import above_standard, standard_reserved
os.close(0); os.close(2)
{body}
"""


def run_without_streams(body: str) -> str:
    program = RUN.format(path=sys.path, body=body)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=55, check=False)
    assert done.returncode == 0
    return done.stdout


def test_a_low_one_is_lifted():
    body = """
low = os.open(os.devnull, os.O_RDONLY)
high = above_standard(low)
assert low == 0 and high > 2 and above_standard(high) == high and not os.get_inheritable(high)
print(standard_reserved.closed())
"""
    assert run_without_streams(body) == "[0, 2]\n"


def test_what_is_taken_is_given_back():
    body = """
with standard_reserved:
    with standard_reserved:
        pass
    inner = os.open(os.devnull, os.O_RDONLY)
    assert inner > 2 and standard_reserved.closed() == [0, 2]
    os.dup2(inner, 2)  # the program's own, from now on
    child = os.fork()
    if not child:
        os._exit(standard_reserved.closed() != [0])
    assert os.waitpid(child, 0)[1] == 0
print(standard_reserved.closed(), os.open(os.devnull, os.O_RDONLY))
"""
    assert run_without_streams(body) == "[0] 0\n"


def test_others_are_left_as_they_are():
    before = os.listdir("/proc/self/fd")
    with standard_reserved:
        assert os.listdir("/proc/self/fd") == before
    assert above_standard(3) == 3
