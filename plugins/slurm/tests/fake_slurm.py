"""Stands in for SLURM's commands on a machine without SLURM: `fake_slurm.py COMMAND ARGUMENTS...`.

A job is a session of processes; its state is a file of the folder $FAKE_SLURM, and `sacct` tells what the file says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def write(name: str, state: str) -> None:
    """Tell the state of a job, whole to those who read it meanwhile."""
    path = FOLDER / f"{name}.{os.getpid()}"
    path.write_text(state)
    path.replace(FOLDER / f"{name}.state")


def sbatch(file: str) -> None:
    script = Path(file).read_text()
    number = len(list(FOLDER.glob("*.script"))) + 1
    (FOLDER / f"{number}.script").write_text(script)
    array = re.search(r"^#SBATCH --array=0-(\d+)", script, re.M)
    for index in range(int(array[1]) + 1) if array else [None]:
        name = str(number) if index is None else f"{number}_{index}"
        environment = {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1"}
        if index is not None:
            environment |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
        write(name, "RUNNING")
        with open(FOLDER / f"{name}.log", "w") as log:
            job = subprocess.Popen(
                [sys.executable, __file__, "run", name, file],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (FOLDER / f"{name}.pid").write_text(str(job.pid))
    print(f"Submitted batch job {number}")


def run(name: str, file: str) -> None:
    done = subprocess.run(["bash", file], check=False)
    write(name, "COMPLETED" if done.returncode == 0 else "FAILED")


def srun(*arguments: str) -> None:
    words = list(arguments)
    while words[0].startswith("--"):
        if words.pop(0) in ("--output", "--error"):
            words.pop(0)
    os.execvp(words[0], words)


def sacct(*_: str) -> None:
    print("JobID|State|NodeList")
    for path in sorted(FOLDER.glob("*.state")):
        print(f"{path.stem}|{path.read_text()}|here")


def scancel(name: str) -> None:
    with open(FOLDER / "cancelled", "a") as cancelled:
        print(name, file=cancelled)
    end(name, "CANCELLED")


def end(name: str, state: str) -> None:
    """End a job as SLURM does."""
    try:
        os.killpg(int((FOLDER / f"{name}.pid").read_text()), signal.SIGKILL)
    except ProcessLookupError:
        return
    write(name, state)


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {
        "sbatch": sbatch, "run": run, "srun": srun, "sacct": sacct, "scancel": scancel
    }  # fmt: skip
    commands[sys.argv[1]](*sys.argv[2:])
