"""What PyInstaller asks, by the entry point in group pyinstaller40: where our hook lies. Imported by nothing else."""

from __future__ import annotations


def hook_dirs() -> list[str]:
    """Return the folder of the hook."""
    return list(__path__)
