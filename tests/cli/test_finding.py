"""Commands of other distributions: found by metadata alone; a bad one affects only itself, and says what to do."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from corefutures.cli import _finding
from corefutures.cli._finding import CommandError, find_command

GOOD = """
    # read without being run
    '''Say something louder.

    The rest is not for the list.
    '''
    from corefutures.cli import CommandParser, UsageError

    def main(arguments):
        words = parser().parse_args(arguments).words
        if words == ["nothing"]:
            raise UsageError("there is nothing\\nto say")
        print(*(word.upper() for word in words))
        return 3

    def parser():
        parser = CommandParser(prog="corefutures shout")
        parser.add_argument("--loud", action="store_true", help="even louder")
        parser.add_argument("words", nargs="*", choices=("all", "nothing"))
        return parser
"""

#: A module that writes down its import, and then hangs.
SLOW = """
    "Takes its time."
    import pathlib, time
    pathlib.Path(__file__).with_suffix(".imported").touch()
    time.sleep(600)
"""

Add = Callable[..., Path]


@pytest.fixture
def add(folder: Path) -> Add:
    """Installs a distribution with one command where `run` finds it: in the current directory."""

    def add(name: str, source: str = GOOD, *, distribution: str = "", value: str = "") -> Path:
        distribution = distribution or f"fake-{name}"
        module = folder / f"{distribution.replace('-', '_')}.py"
        module.write_text(textwrap.dedent(source), encoding="utf-8")
        information = folder / f"{module.stem}-1.5.dist-info"
        information.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        (information / "METADATA").write_text(metadata, encoding="utf-8")
        entry_points = f"[corefutures.commands]\n{name} = {value or module.stem}\n"
        (information / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        return module

    return add


def line_of(name: str, done: subprocess.CompletedProcess[str]) -> str:
    """What the list of commands says of one."""
    return next(line.split(None, 1)[1] for line in done.stdout.splitlines() if line.startswith(f"  {name} "))


def completed(run, *words: str) -> list[str]:
    return run("completion", "bash", "--words", str(len(words)), "corefutures", *words).stdout.splitlines()


def test_a_command_of_another_distribution_is_one_of_ours(run, add):
    add("shout")
    assert line_of("shout", run("--help")) == "Say something louder"
    done = run("shout", "all", "all")
    assert (done.returncode, done.stdout, done.stderr) == (3, "ALL ALL\n", "")
    done = run("shout", "nothing")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "corefutures shout: there is nothing to say\n")
    done = run("shout", "all", "--quiet")
    assert done.returncode == 2
    assert "corefutures shout: unrecognized arguments: --quiet" in done.stderr
    assert completed(run, "sh") == ["shout"]
    assert completed(run, "shout", "--l") == ["--loud"]
    assert completed(run, "shout", "n") == ["nothing"]


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ("1 / 0", "loading fake_bad failed: ZeroDivisionError: division by zero"),
        ("import no_such_module", "loading fake_bad failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('bye')", "loading fake_bad failed: SystemExit: bye"),
        ("def (", "loading fake_bad failed: SyntaxError"),
        ("", "fake_bad has no main()"),
        ("main = 3", "fake_bad has no main()"),
        ("def main(arguments): return 'done'", "its main() returned 'done', not an exit status"),
    ],
)
def test_a_broken_command_says_whose_it_is_why_and_what_to_do(run, add, source, phrase):
    add("bad", source)
    add("shout")
    done = run("bad")
    assert (done.returncode, done.stdout) == (2, "")
    assert "command 'bad' is broken (fake-bad 1.5): " + phrase in done.stderr
    assert done.stderr.endswith("; reinstall or upgrade fake-bad, or report it to its authors\n")
    assert len(done.stderr.splitlines()) == 1
    assert run("shout", "all").returncode == 3
    listed = run("--help")
    assert listed.returncode == 0
    assert "  bad\n" in listed.stdout
    assert completed(run, "bad", "--") == []


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        ("fake_bad:command", "its entry point names fake_bad:command, and a command is a module"),
        ("not a module", "its entry point 'bad = not a module' is not 'name = module'"),
    ],
)
def test_a_claim_that_cannot_be_meant_is_listed_as_broken(run, add, value, phrase):
    add("bad", value=value)
    assert line_of("bad", run("--help")) == f"(broken: {phrase})"
    done = run("bad")
    assert done.returncode == 2
    assert f"command 'bad' is broken (fake-bad 1.5): {phrase}; reinstall or upgrade fake-bad" in done.stderr


def test_a_name_that_two_distributions_claim_is_conflicting(run, add):
    add("shout")
    add("shout", SLOW, distribution="other-shout")
    assert line_of("shout", run("--help")) == "(conflicting: it is claimed by fake-shout 1.5 and other-shout 1.5)"
    done = run("shout")
    assert done.returncode == 2
    assert "claimed by fake-shout 1.5 and other-shout 1.5; uninstall all but one of them" in done.stderr


def test_a_slow_command_is_felt_where_it_is_used_only(run, add):
    module = add("slow", SLOW)
    add("shout")
    assert line_of("slow", run("--help")) == "Takes its time"
    assert run("shout", "all").returncode == 3
    assert run("backends").returncode == 0
    assert "slow" in completed(run, "")
    assert completed(run, "shout", "--l") == ["--loud"]
    assert not module.with_suffix(".imported").exists()


def test_nobody_takes_the_cores_own_commands_away(run, add):
    module = add("backends", SLOW)
    assert line_of("backends", run("--help")) == "List the installed backends and their states"
    assert run("backends").returncode == 0
    assert not module.with_suffix(".imported").exists()


@pytest.mark.parametrize("name", ["conformance", "trace"])
def test_a_command_that_is_not_installed_names_its_distribution(monkeypatch, name):
    distribution, _ = _finding.OWN_COMMANDS[name]
    monkeypatch.setattr("corefutures.registry._discovery.find_spec", lambda package: None)
    monkeypatch.setattr("importlib_metadata.distributions", lambda: iter(()))
    with pytest.raises(CommandError) as caught:
        find_command(name)
    message = str(caught.value)
    assert f"there is no command {name!r}: it comes with {distribution}, which is not installed; install" in message
    assert "pip install " in message
    assert message.endswith("(the commands are backends)")
    with pytest.raises(CommandError, match=f"did you mean '{name}'. That one comes with {distribution}, which is not"):
        find_command(f"{name}e")


def test_a_command_says_which_one_may_be_meant(run, add):
    add("shout")
    done = run("shuot")
    assert done.returncode == 2
    assert "there is no command 'shuot'; did you mean 'shout'? (the commands are " in done.stderr
