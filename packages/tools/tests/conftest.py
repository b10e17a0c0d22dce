"""The fixtures of `command_line`."""

from __future__ import annotations

from command_line import folder as folder, run as run, start as start, switchboard as switchboard
