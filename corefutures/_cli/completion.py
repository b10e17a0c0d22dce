"""`corefutures completion SHELL`: prints the script that has a shell complete commands, their options and backends.

Made of the commands' own parsers, so that it knows what they know.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

from corefutures._cli import COMMANDS
from corefutures._cli.arguments import CommandParser
from corefutures._registry import backends, installed_backend_names

_EPILOG: Final = """\
Exit status: 0, or 2 bad usage.

in the shell's start-up file:
  eval "$(corefutures completion bash)"     in ~/.bashrc
  eval "$(corefutures completion zsh)"      in ~/.zshrc, after compinit
  corefutures completion fish | source      in ~/.config/fish/config.fish"""

_BASH: Final = """\
_corefutures() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    elif [[ "${{COMP_WORDS[COMP_CWORD-1]}}" == -b || "${{COMP_WORDS[COMP_CWORD-1]}}" == --backend ]]; then
        words={backends}
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
        [[ "$word" == -* || "${{COMP_WORDS[1]}}" == completion ]] || words=""
    fi
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _corefutures corefutures
"""


#: What stands for something else in a text in double quotes.
_SPECIAL: Final = r'["$\\]'


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.
    """
    shell = parser().parse_args(arguments).shell
    if shell == "fish":
        print(_fish(), end="")
    else:
        prefix = "autoload -Uz bashcompinit && bashcompinit\n" if shell == "zsh" else ""
        print(prefix + _bash(), end="")
    return 0


def parser() -> CommandParser:
    """The parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures completion",
        description="Print the script that has a shell complete commands, their options and the names of backends.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")
    return parser


def _actions(command: str) -> Iterator[argparse.Action]:
    """The options of a command that its help shows."""
    for action in import_module(COMMANDS[command][0]).parser()._actions:  # argparse has no other way to list them
        if action.help != argparse.SUPPRESS:
            yield action


def _bash() -> str:
    cases = []
    for command in COMMANDS:
        words = [word for action in _actions(command) for word in action.option_strings or action.choices or ()]
        cases.append(f"            {command}) words={shlex.quote(' '.join(words))} ;;")
    return _BASH.format(
        commands=shlex.quote(" ".join([*COMMANDS, "--help", "--version"])),
        backends=shlex.quote(" ".join(installed_backend_names())),
        cases="\n".join(cases),
    )


def _fish() -> str:
    lines = ["complete -c corefutures -n __fish_use_subcommand -l version -s V -d 'print the version and exit'"]
    for command, (_, purpose) in COMMANDS.items():
        lines.append(f"complete -c corefutures -n __fish_use_subcommand -f -a {command} -d {shlex.quote(purpose)}")
        for action in _actions(command):
            words = [f"{'-l' if name.startswith('--') else '-s'} {name.lstrip('-')}" for name in action.option_strings]
            choices = _fish_backends() if "--backend" in action.option_strings else " ".join(action.choices or ())
            if choices:
                words.append(f"{'-x' if words else '-f'} -a {shlex.quote(choices)}")
            elif action.option_strings and action.nargs != 0:
                words.append("-r")
            if words:
                condition = shlex.quote(f"__fish_seen_subcommand_from {command}")
                words.append(f"-d {shlex.quote(_first_part(action.help or ''))}")
                lines.append(f"complete -c corefutures -n {condition} {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _fish_backends() -> str:
    """The names of backends as fish takes them, each with a tab and what it is."""
    statuses = backends()
    told = [(name, _purpose(statuses[name].distribution)) for name in installed_backend_names()]
    return " ".join(f'{name}\\t"{re.sub(_SPECIAL, "", purpose)}"' for name, purpose in told)


def _purpose(distribution: str | None) -> str:
    """What a distribution says it is, less its own name: "The backend of …: what it does"."""
    from importlib.metadata import metadata

    if distribution is None:
        return ""
    told: Any = metadata(distribution)  # a `Message`
    summary: str = told.get("Summary", "")
    return summary.partition(": ")[2] or summary


def _first_part(text: str) -> str:
    """What comes before the first semicolon that is not within parentheses."""
    return re.split(r";(?![^(]*\))", text, maxsplit=1)[0]
