"""The jobs of an executor, which are its workers; and the thread that starts them, and hands them calls by files.

Touches submitit, and `_worker` for the files. Guarantees: a call that no job has taken survives the loss of a job; the
folder of the executor is removed at its end, and no job is left then.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import pickle
import shutil
import sys
import tempfile
import time
from collections import deque
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from corefutures import WorkerLostError
from corefutures.backend import describe_error
from corefutures_pools.blocking import clock, system, threading
from corefutures_pools.foreign_code import log_failure
from corefutures_slurm import _worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from corefutures_pools.engines.queue import Report, Task

LOGGER: Final = logging.getLogger("concurrent.futures")

#: Seconds between two looks at the results, at first and at most.
_SHORTEST: Final = 0.001
_LONGEST: Final = 0.05
#: Seconds between two touches of `alive`.
_ALIVE: Final = 2.0
#: Seconds: between two questions for the states of jobs; that more calls may take to ask for jobs, which are then one
#: array; that workers wait for a sign of life.
TIMES: Final = {"local": (0.05, 0.0, 20.0), "slurm": (10.0, 0.5, 300.0)}
#: The number of jobs in a row that may end before they take calls; then no job is tried any more.
_MOST_FAILURES: Final = 3
#: Seconds that workers may take to end by themselves, and jobs to end when they are cancelled.
_LEAVING: Final = 5.0
_CANCELLING: Final = 15.0
#: States of a job that ran: SLURM has stopped it, and may start it again.
_STOPPED: Final = ("PENDING", "PREEMPTED", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED")
#: What helps when a job ends in a state.
_REMEDIES: Final = {
    "TIMEOUT": "its time limit was {time} minutes: give it more (time=), or make the calls shorter",
    "OUT_OF_MEMORY": "give it more memory (mem_gb=)",
}


class _Worker:
    """A job that is a worker."""

    def __init__(self, name: str, job: Any) -> None:
        self.name = name
        self.job = job
        self.up = False  # it takes calls
        self.place = ""  # its host and process
        self.call: tuple[int, Task, Report] | None = None  # the one that it has


class SlurmEngine:
    """The jobs of one executor.

    Args:
        cluster: "slurm", or "local" for processes of this machine.
        folder: Where the folder of the executor is made; jobs must see it.
        max_workers: How many jobs there may be at once.
        parameters: Of submitit's executor.
        idle: Seconds after which a job ends that has no call.
    """

    def __init__(
        self, cluster: str, folder: Path, max_workers: int, parameters: Mapping[str, Any], idle: float
    ) -> None:
        self._max_workers = max_workers
        self._parameters = parameters
        self._idle = idle
        self._local = cluster == "local"
        self._interval, self._gather, self._patience = TIMES[cluster]
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="corefutures-", dir=folder)).resolve()
        self._out = self._folder / "out"
        self._out.mkdir()
        (self._folder / "alive").touch()
        self._submitter: Any = import_module("submitit").AutoExecutor(self._folder / "jobs", cluster=cluster)
        self._submitter.update_parameters(**parameters)
        if self._local:
            self._submitter._executor._throttling = 0.0  # spares SLURM's controller; there is none
        self._commands: SimpleQueue[tuple[Task, Report] | None] = SimpleQueue()
        self._wanted = 0  # the jobs that the calls ask for
        self._usable = 0  # the workers that take calls
        # Of the thread alone.
        self._workers: list[_Worker] = []
        self._tasks: deque[tuple[int, Task, Report]] = deque()
        self._numbers = itertools.count()
        self._names = itertools.count()
        self._failures = 0
        self._asked = 0.0  # when jobs were asked for, as calls began to need them; 0 if none are
        self._checked = self._touched = clock.monotonic()
        self._ends = False
        self._thread = threading.Thread(target=self._serve, name="corefutures-slurm-jobs", daemon=True)

    def attach(self, wake: Callable[[], None], fail: Callable[[str], None]) -> None:
        """See `Engine.attach`."""
        self._wake, self._fail = wake, fail
        self._thread.start()

    def slots(self, calls: int) -> int:
        """See `Engine.slots`."""
        wanted = min(self._max_workers, calls)
        if wanted != self._wanted:
            self._wanted = wanted
            self._commands.put(None)
        return self._usable

    def start(self, task: Task, report: Report) -> None:
        """See `Engine.start`."""
        self._commands.put((task, report))

    def shutdown(self) -> None:
        """End the jobs and remove the folder."""
        self._ends = True
        self._commands.put(None)
        self._thread.join()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        try:
            delay = _SHORTEST
            while not self._ends:
                try:
                    changed = self._step()
                except Exception as exc:
                    log_failure(LOGGER, "Exception in the thread of %r", self)
                    self._fail_tasks(f"the executor's files can't be used: {describe_error(exc)}")
                    changed = False
                busy = self._tasks or self._asked or any(not each.up or each.call for each in self._workers)
                delay = _SHORTEST if changed else min(2 * delay, _LONGEST)
                self._receive(delay if busy else _ALIVE)
        finally:
            if not self._ends:  # an error that is no Exception
                self._fail_tasks("the thread that starts its jobs has ended")
            self._end()

    def _receive(self, timeout: float) -> None:
        """Take the commands that have come; wait for the first one."""
        with contextlib.suppress(Empty):
            command = self._commands.get(timeout=timeout)
            while True:
                if command is not None:
                    self._tasks.append((next(self._numbers), *command))
                command = self._commands.get_nowait()

    def _step(self) -> bool:
        """Do what is due; return whether a call has moved."""
        now = clock.monotonic()
        if now - self._touched > _ALIVE:
            self._touched = now
            system.utime(self._folder / "alive")
        changed = self._take_results()
        if now - self._checked > self._interval and self._workers:
            self._check_jobs()
            self._checked = clock.monotonic()
        missing = min(self._wanted, self._max_workers) - len(self._workers)
        if missing <= 0:
            self._asked = 0.0
        elif not self._asked:
            self._asked = now
        if self._asked and now - self._asked >= self._gather:
            self._asked = 0.0
            self._start_jobs(missing)
        for worker in self._workers:
            if self._tasks and worker.up and worker.call is None:
                worker.call = call = self._tasks.popleft()
                _worker.write(self._folder / worker.name / f"{call[0]}.call", pickle.dumps(call[1]))
                changed = True
        return changed

    def _take_results(self) -> bool:
        """Report the calls that have ended, and note the workers that have come up; return whether there were any."""
        if all(worker.up and worker.call is None for worker in self._workers):
            return False
        found = set(_worker.entries(self._out))
        changed = False
        for worker in self._workers:
            if not worker.up and f"{worker.name}.up" in found:
                worker.up = changed = True
                worker.place = (self._out / f"{worker.name}.up").read_text()
                self._failures = 0
            if worker.call is not None and f"{worker.call[0]}.done" in found:
                self._finish(worker)
                changed = True
        if changed:
            self._count()
        return changed

    def _finish(self, worker: _Worker) -> None:
        assert worker.call is not None
        (number, _, report), worker.call = worker.call, None
        file = self._out / f"{number}.done"
        report(file.read_bytes())
        file.unlink()

    def _count(self) -> None:
        before, self._usable = self._usable, sum(worker.up for worker in self._workers)
        if self._usable > before:
            self._wake()

    def _start_jobs(self, count: int) -> None:
        """Submit so many jobs; several are one array."""
        names = [f"w{next(self._names)}" for _ in range(count)]
        for name in names:
            (self._folder / name).mkdir()
        rest = str(self._folder), names, list(sys.path), self._idle, self._patience
        columns = [names if part is names else [part] * count for part in rest]
        try:
            jobs = self._submitter.map_array(_worker.serve, *columns)
        except Exception as exc:
            self._fail_tasks(f"SLURM does not take the job: {describe_error(exc)}")
            return
        self._workers += map(_Worker, names, jobs)

    def _check_jobs(self) -> None:
        """Remove the workers whose jobs have ended."""
        force = True  # one question for all jobs
        for worker in list(self._workers):
            ended = worker.job.done(force_check=force)
            force = False
            state = str(worker.job.state).partition(" ")[0]
            if ended or (worker.up and not self._local and state in _STOPPED):
                self._remove(worker, state, ended)

    def _remove(self, worker: _Worker, state: str, ended: bool) -> None:
        self._take_results()  # its last one may have come meanwhile
        self._workers.remove(worker)
        self._count()
        if not ended:
            worker.job.cancel(check=False)  # SLURM would start it again
        if worker.call is not None:
            number, task, report = worker.call
            try:
                (self._folder / worker.name / f"{number}.call").unlink()
            except FileNotFoundError:  # the worker has taken it
                report(self._loss(worker, state))
            else:
                self._tasks.appendleft((number, task, report))
        if not worker.up:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                text = _last_lines(worker.job)
                self._fail_tasks(f"{self._failures} jobs have ended before they took calls, the last one {state}{text}")
        shutil.rmtree(self._folder / worker.name, ignore_errors=True)

    def _loss(self, worker: _Worker, state: str) -> WorkerLostError:
        host, _, pid = worker.place.partition(" ")
        text = f"job {worker.job.job_id} on {host} ended ({state}) while it ran the call"
        remedy = _REMEDIES.get(state)
        if remedy:
            text = f"{text}: {remedy.format(time=self._parameters.get('timeout_min'))}"
        return WorkerLostError(text, pid=int(pid) if pid.isdigit() else None, worker=str(worker.job.job_id))

    def _fail_tasks(self, reason: str) -> None:
        self._wanted = 0
        self._tasks.clear()
        self._fail(reason)

    def _end(self) -> None:
        """End all jobs, and remove the folder."""
        with contextlib.suppress(OSError):
            (self._folder / "end").touch()
        for worker in self._workers:
            if not worker.up and not self._local:  # it may wait for hours
                _cancel(worker.job)
        left = _await_end([worker.job for worker in self._workers], _LEAVING)
        for job in left:
            _cancel(job)
        for job in _await_end(left, _CANCELLING):
            LOGGER.warning("job %s has not ended", job.job_id)
        shutil.rmtree(self._folder, ignore_errors=True)


def _cancel(job: Any) -> None:
    try:
        job.cancel(check=False)
    except Exception:
        log_failure(LOGGER, "job %s can't be cancelled", job.job_id)


def _await_end(jobs: list[Any], seconds: float) -> list[Any]:
    """Wait until jobs have ended, at most so many seconds; return those that have not."""
    deadline = clock.monotonic() + seconds
    while (jobs := [job for job in jobs if not job.done()]) and clock.monotonic() < deadline:
        time.sleep(0.02)
    return jobs


def _last_lines(job: Any) -> str:
    """Return the end of what a job has written to standard error, for a message."""
    try:
        lines = (job.stderr() or "").strip().splitlines()
    except Exception:
        return ""
    return f": {lines[-1]}" if lines else ""
