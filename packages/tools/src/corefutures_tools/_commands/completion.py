"""Print the script with which a shell completes commands.

The script calls this command again for each word. Only the command that is being completed is loaded, so that a slow
or broken one affects only itself; distributions that are installed later are completed too.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from corefutures import backends
from corefutures.cli import CommandParser, commands, find_command

_EPILOG: Final = """\
Exit status: 0, or 2 bad usage.

in the shell's start-up file:
  eval "$(corefutures completion bash)"     in ~/.bashrc
  eval "$(corefutures completion zsh)"      in ~/.zshrc, after compinit
  corefutures completion fish | source      in ~/.config/fish/config.fish"""

_BASH: Final = """\
_corefutures() {
    local IFS=$'\\n'
    COMPREPLY=($("$1" completion bash --words "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null))
}
complete -o default -F _corefutures corefutures
"""

_SCRIPTS: Final = {
    "bash": _BASH,
    "zsh": f"autoload -Uz bashcompinit && bashcompinit\n{_BASH}",
    "fish": """\
function __corefutures
    corefutures completion fish --words (count (commandline -opc)) (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c corefutures -a '(__corefutures)'
complete -c corefutures -n __fish_use_subcommand -f
""",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.
    """
    parsed = parser().parse_args(arguments)
    if parsed.words is None:
        print(_SCRIPTS[parsed.shell], end="")
        return 0
    with contextlib.redirect_stdout(sys.stderr):  # a command may print when it is imported
        found = list(_candidates(parsed.words[1:], int(parsed.words[0])))
    for word, meaning in found:
        print(f"{word}\t{meaning}" if meaning and parsed.shell == "fish" else word)
    return 0


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures completion",
        description="Print the script that has a shell complete commands, their options and the names of backends.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="which shell")
    # from the script: the number of the word to complete, and the words, the program's name first
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _candidates(line: Sequence[str], position: int) -> Iterator[tuple[str, str]]:
    """Yield the words that the word at that position may become, each with its meaning."""
    word = line[position] if position < len(line) else ""
    if position == 1:
        choices = {name: command.summary for name, command in commands().items()}
        choices |= {"--help": "show the commands and exit", "--version": "print the version and exit"}
    else:
        choices = _choices(find_command(line[1]).load().parser(), word, line[position - 1])
    for choice, meaning in choices.items():
        if choice.startswith(word):
            yield choice, meaning


def _backend_names() -> list[str]:
    return [name for name, status in backends().items() if status.state in ("installed", "available")]


def _choices(parser: argparse.ArgumentParser, word: str, before: str) -> dict[str, str]:
    actions = [each for each in parser._actions if each.help != argparse.SUPPRESS]  # argparse has no other way
    for action in actions:
        if before in action.option_strings and action.nargs != 0:  # the word is its value
            names = _backend_names() if "--backend" in action.option_strings else action.choices or ()
            return dict.fromkeys(map(str, names), "")
    if word.startswith("-"):
        return {name: (each.help or "").partition(";")[0] for each in actions for name in each.option_strings}
    return {str(choice): "" for each in actions if not each.option_strings for choice in each.choices or ()}
