"""The place of our hook for PyInstaller, found by the entry-point group pyinstaller40. Nobody else imports it."""

from __future__ import annotations


def hook_dirs() -> list[str]:
    """Return the folder of the hook."""
    return list(__path__)
