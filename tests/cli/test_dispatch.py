"""The command line itself: help, version, unknown commands, and what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from corefutures._cli import COMMANDS


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, arguments):
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for name, (_, purpose) in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert purpose in done.stdout


@pytest.mark.parametrize("command", ["map", "backends"])
def test_each_command_has_help(run, command):
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"corefutures {command}" in done.stdout
    assert "Exit status:" in done.stdout


def test_version(run):
    import corefutures

    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"corefutures {corefutures.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [(["mpa"], "no command 'mpa'"), (["--loud"], "--loud"), ([""], "no command ''")],
)
def test_bad_input_is_one_sentence_and_status_2(run, arguments, phrase):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert phrase in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_spawned_worker_pays_nothing_for_the_main_module():
    program = (
        "import sys, corefutures.__main__; "
        "print([name for name in sys.modules if name.startswith('corefutures._cli') or name == 'argparse'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "[]\n"
