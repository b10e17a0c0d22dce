"""The command line itself: help, version, completion, unknown commands, and what it imports."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from corefutures.cli._finding import commands

COMMANDS = commands()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, arguments):
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", done.stdout, re.MULTILINE)
        assert command.summary


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(run, command):
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"corefutures {command}" in done.stdout
    assert "Exit status:" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there is no shell that closes a stream, and no full device")
def test_output_that_can_not_be_written(tmp_path):
    def shell(words, redirection):
        line = f'"{sys.executable}" -m corefutures {words} {redirection}'
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, stdin=-3, capture_output=True, text=True, timeout=50)
        assert done.stdout == ""
        return done.returncode, done.stderr

    assert shell("map os.path:basename a", ">&-") == (
        2, "corefutures map: there is no standard output for the results\n"
    )  # fmt: skip
    assert shell("backends", ">&-") == (0, "")
    if os.path.exists("/dev/full"):
        for command in ("-V", "backends", "completion fish", "conformance --list"):
            status, said = shell(command, ">/dev/full")
            assert (status, said) == (1, "corefutures: cannot write the output: No space left on device\n"), command


def options(command):
    """What each option that a command's help shows takes and means; what it is for may differ in other words."""
    parser = COMMANDS[command].load().parser()
    return {
        name: (action.metavar, action.nargs == 0, action.option_strings)
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings
    }


def test_what_means_the_same_is_called_the_same():
    found = {}
    for command in COMMANDS:
        for name, meaning in options(command).items():
            if name != "--backend" and name != "-b":  # `map` takes one, `compare` several
                assert found.setdefault(name, meaning) == meaning, f"{command} {name}"


@pytest.mark.parametrize(
    ("command", "once", "now"),
    [
        ("map", "--json", "json_lines"),
        ("compare", "--items-json", "json_lines"),
        ("conformance", "--deadline", "timeout"),
        ("trace", "-o", "output"),
    ],
)
def test_what_was_called_otherwise_still_works(command, once, now):
    parser = COMMANDS[command].load().parser()
    found = {action.dest for action in parser._actions if once in action.option_strings}
    assert found == {now}
    assert once not in parser.format_help().replace("--json-lines", "").split()


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(run, flag):
    import corefutures

    done = run(flag)
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
        "print([name for name in sys.modules if name.startswith('corefutures.cli') or name == 'argparse'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="platform: no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["com"], ["compare", "completion"]),
        ([""], [*COMMANDS, "--help", "--version"]),
        (["map", "--ch"], ["--chunksize"]),
        (["map", "-b", "thr"], ["thread"]),
        (["conformance", "--list", "--ju"], ["--junit"]),
        (["completion", "z"], ["zsh"]),
        (["map", "jo"], []),  # files, as the shell does
        (["mpa", "--"], []),
    ],
)
def test_bash_completes(run, words, completed):
    script = run("completion", "bash").stdout
    script += (
        f'corefutures() {{ "{sys.executable}" -m corefutures "$@"; }}\n'
        f"COMP_WORDS=(corefutures {shlex.join(words)}); COMP_CWORD={len(words)}; _corefutures corefutures\n"
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stderr, done.stdout.split()) == ("", completed)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_asks_the_program(run, shell):
    assert f"completion {'fish' if shell == 'fish' else 'bash'} --words" in run("completion", shell).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_knows_every_option(run, command):
    done = run("completion", "fish", "--words", "2", "corefutures", command, "-")
    assert done.stderr == ""
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == set(options(command))
    assert all(line.partition("\t")[2] for line in done.stdout.splitlines())
