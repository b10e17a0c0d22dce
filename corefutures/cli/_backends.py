"""List the installed backends and their states.

Without `--check` from metadata alone. With it, each backend is loaded in a process of its own with a time limit, so
that a plugin that hangs or crashes is a line of the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from corefutures.cli._arguments import CommandParser, UsageError, seconds
from corefutures.registry._description import BackendStatus
from corefutures.registry._known import OWN_CLASSES, OWN_DISTRIBUTIONS
from corefutures.registry._messages import how_to_install
from corefutures.registry._registry import backends

_PROBE = (
    "import json, sys; sys.path[:] = json.load(sys.stdin); from corefutures.cli._probe import main; main(sys.argv[1])"
)


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status: 1 if a backend is broken or conflicting, else 0.
    """
    parsed = parser().parse_args(arguments)
    statuses = list(backends().values())
    if parsed.check:
        statuses = [_check(status, parsed.timeout) for status in statuses]
    if parsed.json != "-":
        _print_table(statuses)
    if parsed.json:
        _write_json(parsed.json, [asdict(status) for status in statuses])
    return 1 if any(status.state in ("broken", "conflicting") for status in statuses) else 0


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures backends",
        description="List the installed backends: name, state, distribution and version, note.",
        epilog="Exit status: 0; 1 if a backend is broken or conflicting.",
    )
    parser.add_argument("--check", action="store_true", help="load each one, in a process of its own")
    parser.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="also write the list as JSON; - or no file writes it instead of the table",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="SECONDS", help="how long one may take (default: 10)"
    )
    return parser


def _write_json(file: str, statuses: list[dict[str, str | None]]) -> None:
    text = json.dumps(statuses, indent=2) + "\n"
    if file == "-":
        print(text, end="")
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from error


def _print_table(statuses: list[BackendStatus]) -> None:
    if not statuses:
        print(f"no backend is installed; {how_to_install(*(OWN_DISTRIBUTIONS[name] for name in OWN_CLASSES))}")
        return
    rows = [("name", "state", "distribution", "note")]
    for status in statuses:
        owner = f"{status.distribution} {status.version or '?'}" if status.distribution else "-"
        rows.append((status.name, status.state, owner, status.reason or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, state, owner, note in rows:
        print(f"{name:<{widths[0]}}  {state:<{widths[1]}}  {owner:<{widths[2]}}  {note}".rstrip())


def _check(status: BackendStatus, timeout: float) -> BackendStatus:
    """Load one backend in another process; `timeout` in seconds."""
    if status.state != "installed":
        return status
    # Files, not pipes: a process that the plugin leaves behind could keep a pipe open.
    with tempfile.TemporaryFile() as paths, tempfile.TemporaryFile() as answer:
        paths.write(json.dumps(sys.path).encode())
        paths.seek(0)
        probe = subprocess.Popen(
            [sys.executable, "-c", _PROBE, status.name],
            stdin=paths,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            start_new_session=sys.platform != "win32",
        )
        try:
            code = probe.wait(timeout)
        except subprocess.TimeoutExpired:
            return replace(status, state="broken", reason=f"it hangs: not loaded within {timeout:g} s")
        finally:
            if probe.poll() is None:
                _kill(probe)
        answer.seek(0)
        try:
            return BackendStatus(**json.loads(answer.read()))
        except ValueError:  # it ended before it answered
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            return replace(status, state="broken", reason=f"loading it ended the process with {how}")


def _kill(probe: subprocess.Popen[bytes]) -> None:
    """End a probe and, where there are sessions, the processes that it left running."""
    if sys.platform == "win32":
        probe.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says it the second way
            os.killpg(probe.pid, signal.SIGKILL)
    probe.wait()
