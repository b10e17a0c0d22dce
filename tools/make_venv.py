"""Makes the virtual environment that make works in, or brings it up to date: `make_venv.py FOLDER GROUP...`.

Run by the interpreter the environment is for; uses only the standard library and the environment's pip.
Rebuilds after a change of interpreter, installs again after a change of a pyproject.toml, else does nothing.
A folder that it did not make is somebody's own environment: it is used as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "made-by-make-venv.json"


def distributions() -> list[Path]:
    """The folders of the workspace's distributions: the core, then every package and plugin with a pyproject.toml."""
    return [
        ROOT,
        *(path.parent for rooms in ("packages", "plugins") for path in sorted(ROOT.glob(f"{rooms}/*/pyproject.toml"))),
    ]


def requirements_digest() -> str:
    """A digest of all that says what has to be installed."""
    digest = hashlib.sha256()
    for folder in distributions():
        digest.update(str(folder.relative_to(ROOT)).encode() + b"\0")
        digest.update((folder / "pyproject.toml").read_bytes() + b"\0")
    return digest.hexdigest()


def interpreter() -> str:
    """What tells this interpreter from others; the same inside and outside a virtual environment."""
    return f"{sys.version} {os.path.realpath(sys.base_prefix)}"


def environment_python(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def install(python: Path, groups: set[str]) -> None:
    """Installs the dependency groups, then the workspace's distributions, editable."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    core, *others = distributions()
    editable = [word for folder in others for word in ("--editable", str(folder))]
    grouped = [word for group in sorted({"build", *groups}) for word in ("--group", group)]
    subprocess.run([*pip, "install", "--upgrade", "pip>=25.1"], cwd=ROOT, check=True)
    # an older release with a wheel is better than a newer one that this machine would have to compile
    subprocess.run([*pip, "install", "--prefer-binary", *grouped], cwd=ROOT, check=True)
    subprocess.run([*pip, "install", "--no-build-isolation", "--editable", str(core)], cwd=ROOT, check=True)
    # What a plugin depends on besides the core is in a dependency group: without it, its backend is unavailable.
    subprocess.run([*pip, "install", "--no-build-isolation", "--no-deps", *editable], cwd=ROOT, check=True)


def make(folder: Path, groups: set[str]) -> str:
    """Makes `folder` an environment with `groups` in it; returns what was done."""
    stamp_file = folder / STAMP
    if environment_python(folder).exists() and not stamp_file.exists():
        return f"{folder} is used as it is: it was not made by tools/make_venv.py"
    try:
        stamp = json.loads(stamp_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stamp = {}
    same_interpreter = stamp.get("interpreter") == interpreter() and environment_python(folder).exists()
    same_requirements = stamp.get("requirements") == requirements_digest()
    installed = set(stamp.get("groups", ()))
    if same_interpreter and same_requirements and groups <= installed:
        return ""

    def record(**facts: object) -> None:
        stamp_file.write_text(json.dumps({"interpreter": interpreter(), **facts}, indent=2) + "\n", encoding="utf-8")

    if not same_interpreter:
        if stamp_file.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record()  # from here on the folder is ours, also if this run is interrupted
        print(f"Making {folder} ...", flush=True)
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        installed = set()
    print(f"Installing into {folder}: {', '.join(sorted(installed | groups))} ...", flush=True)
    install(environment_python(folder), installed | groups)
    record(requirements=requirements_digest(), groups=sorted(installed | groups))
    return f"{folder} is ready"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Make or update the virtual environment that make works in.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="dependency groups of pyproject.toml")
    arguments = parser.parse_args()
    try:
        done = make(arguments.folder, set(arguments.groups))
    except subprocess.CalledProcessError as error:
        print(f"make_venv: a step of the installation failed with status {error.returncode}", file=sys.stderr)
        return 1
    if done:
        print(done, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
