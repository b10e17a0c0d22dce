"""Builds the sdist and the wheel of every distribution into a folder: `build_dist.py FOLDER`, what `make dist` runs.

The folder is what `pip install --find-links FOLDER 'corefutures[all]'` takes. Needs hatchling, and no index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Build, and say what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where to; made if it is not there, and emptied of our older files")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("corefutures*.whl"), *folder.glob("corefutures*.tar.gz")):
        old.unlink()
    rooms = (path.parent for room in ("packages", "plugins") for path in sorted(ROOT.glob(f"{room}/*/pyproject.toml")))
    for source in (ROOT, *rooms):
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{source}: {done.stdout}{done.stderr}", file=sys.stderr)
            return 1
    for made in sorted(folder.glob("corefutures*")):
        print(made.name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
