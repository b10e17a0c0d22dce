"""Rare branches: lines of the product that a long chaos has to reach at least once ("sometimes" assertions).

A branch is named by its function and by the text of a line; what follows `>` is the line after that. A line that is not
there, or is there twice, is an error: the list keeps up with the code. Costs nothing once a line has been reached.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

_QUEUE = "corefutures_pools.workers.shared_queue."
_WORKERS = "corefutures_pools.workers."

#: Name → module, function, line.
BRANCHES: dict[str, tuple[str, str, str]] = {
    "a call is taken back from the task queue":
        (_QUEUE + "revocation", "Revocations.cancel", "if future._cf_try_cancel(notified=True, recalled=True):"),
    "a cancellation is finished by another than its thread":
        (_QUEUE + "revocation", "Revocations._finish_one", "queue.arena.free(number)"),
    "a claim is resolved as lost":
        (_QUEUE + "claims", "ClaimResolver.resolve", "for index, number in enumerate(sorted(resolution.tasks)):"),
    "a claim is resolved as another worker's":
        (_QUEUE + "claims", "ClaimResolver.resolve", "if not resolution.tasks:>"),
    "workers are asked for a sign of life":
        (_QUEUE + "claims", "ClaimResolver.resolve", "queue.ping(resolution.ping, len(resolution.candidates))"),
    "the slots are full":
        (_QUEUE + "task_queue", "TaskQueue.encode", "self.defer_encoding(future)"),
    "the result thread finds no slot either":
        (_QUEUE + "task_queue", "TaskQueue.encode_deferred", "if not self._encode(future):>"),
    "a call without a slot is cancelled":
        (_QUEUE + "task_queue", "TaskQueue.encode_deferred", "cancelled.append(future)"),
    "what was read back is posted again":
        (_QUEUE + "task_queue", "TaskQueue.flush", "if self.read_back:>"),
    "a frame is written in part, and continued":
        (_QUEUE + "worker", "_make_send.<locals>.send", "sent += write(frames, memoryview(frame)[sent:])"),
    "a frame is read in part":
        (_QUEUE + "frame_reader", "FrameReader._parse_buffer", "if stop > end:>"),
    "a leader reads another frame than its own":
        (_QUEUE + "inline_wait", "InlineWaitPool._read_own_result", "or len(data) != FRAME.size + size>>"),
    "a leader steps down for unparsed frames":
        (_QUEUE + "inline_wait", "InlineWaitPool._end_term",
         "if self.closing or self._backlog or self.deferred or self.has_unparsed_input():>"),
    "a candidate is not the leader":
        (_QUEUE + "inline_wait", "InlineWaitPool.wait_inline", "else:>"),
    "a leader is interrupted":
        (_QUEUE + "inline_wait", "InlineWaitPool.wait_inline", "if future._state == FINISHED:"),
    "a signal handler makes its thread step down":
        (_QUEUE + "leader", "Leadership.step_down_current_thread", "term.read_permit.clear()"),
    "the result thread waits for the leadership":
        (_QUEUE + "watchdog", "StallWatchdog.acquire", "leadership.wakeup.set()"),
    "leadership is taken from a thread":
        (_QUEUE + "leader", "Leadership.revoke", "self.rearm()"),
    "a worker is stopped and killed for its call":
        (_QUEUE + "call_killer", "CallKiller.kill",
         "worker.kill()  # if it was interrupted before that, it is done now"),
    "a payload can't be sent":
        (_QUEUE + "frame_reader", "FrameReader._send_payload", "except OSError as exc:>"),
    "the workers of a broken pool are terminated":
        (_QUEUE + "pool", "SharedQueuePool._shut_down", 'self.end_workers("terminate")'),
    "a worker that has ended is not yet seen to have":
        (_QUEUE + "connection_table", "ConnectionTable.check_ended", "if connection.end_expected:>"),
    "the transport can't be opened":
        (_WORKERS + "supervisor", "WorkerSupervisor._on_start_failure", "pool = self._pool"),
    "a worker can't be started, and others go on":
        (_WORKERS + "supervisor", "WorkerSupervisor._on_start_failure", "elif len(self.workers):>"),
    "no thread of the pool can be started":
        (_WORKERS + "supervisor", "WorkerSupervisor._end_unserved", "if self.opened and pool.is_unserved():>"),
    "the submitter starts workers itself":
        (_WORKERS + "supervisor", "WorkerSupervisor.start_workers",
         "except RuntimeError:  # there are too many threads, or the interpreter ends>"),
    "content stays in plain memory without a memory file":
        (_WORKERS + "payload", "Segment.__init__",
         "except OSError:  # no descriptor or no memory: the content stays in plain memory>"),
    "a pool breaks with calls in it":
        (_WORKERS + "pool", "WorkerPool.fail_call", "if future._cf_settle(None, self._broken_error()):"),
    "a submitter is refused by a pool that has just closed":
        (_WORKERS + "pool", "WorkerPool.submit", "if self.closing:  # since the look above>"),
    "an interrupted submit cancels its call":
        (_WORKERS + "pool", "WorkerPool.submit",
         "except BaseException:  # also of a signal handler: nobody else has the future, nor will have>"),
    "a forked child fails the calls of its parent":
        (_WORKERS + "pool", "WorkerPool._fail_calls_in_child", "self.supervisor.after_fork_in_child()"),
    "a worker of pipes is lost in a call":
        (_WORKERS + "pipes.pool", "PipePool._fail_call", "if call is not None:>"),
    "a worker of pipes is lost while it has nothing to do":
        (_WORKERS + "pipes.pool", "PipePool._next_call",
         "if gone:  # it has nothing to say while it has nothing to do>"),
    "a request waits until its call is delivered":
        (_WORKERS + "pipes.pool", "PipePool._send_call", "if connection.asked:>"),
    "a thread of a thread pool can't be started":
        ("corefutures_thread._thread_pool", "ThreadPool.ensure_worker", "if not isinstance(exc, Exception):"),
    "calls are stranded without a thread":
        ("corefutures_thread._thread_pool", "ThreadPool._fail_stranded",
         'self._fail_pending(lambda: RuntimeError(f"no worker thread could be started: {cause}"))'),
    "an interpreter can't be created":
        ("corefutures_interpreter._launcher", "_InterpreterCreation.run", "self.failure = exc"),
    "a call is tried again":
        ("corefutures_structured._retrying", "RetryingExecutor._on_end", "call.idle_for += pause"),
}  # fmt: skip

_TOOL = 4  # of sys.monitoring's: not a debugger's, not a profiler's

_wanted: dict[tuple[CodeType, int], str] = {}


def code_of(module: Any, function: str) -> CodeType:
    """Return the code of a function, a method or a property, or of a function within one.

    Raises:
        LookupError: There is none.
    """
    outer, _, inner = function.partition(".<locals>.")
    found: Any = module
    for part in outer.split("."):
        found = vars(found).get(part)
        if found is None:
            raise LookupError(f"{module.__name__} has no {function}")
    code: CodeType = (getattr(found, "fget", None) or getattr(found, "__func__", found)).__code__
    if inner:
        (code,) = [one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == inner]
    return code


def line_of(module: Any, code: CodeType, line: str) -> int:
    """Return the number of a line in a function.

    Raises:
        LookupError: There is not exactly one such line.
    """
    source = module.__loader__.get_source(module.__name__).splitlines()
    text = line.rstrip(">")
    last = max(number for *_, number in code.co_lines() if number is not None)
    numbers = [number for number in range(code.co_firstlineno, last + 1) if source[number - 1].strip() == text]
    if len(numbers) != 1:
        raise LookupError(f"{module.__name__} has {len(numbers)} lines {text!r} in {code.co_qualname}")
    return numbers[0] + len(line) - len(text)


def watch(module: Any) -> None:
    """Write down which of the branches of a module are reached, once in each process; needs Python 3.12."""
    ours = {name: rest for name, (where, *rest) in BRANCHES.items() if where == module.__name__}
    if not ours or sys.version_info < (3, 12):
        return
    monitoring = sys.monitoring
    if monitoring.get_tool(_TOOL) is None:
        monitoring.use_tool_id(_TOOL, "corefutures chaos")
        monitoring.register_callback(_TOOL, monitoring.events.LINE, _on_line)
    for name, (function, line) in ours.items():
        code = code_of(module, function)
        _wanted[code, line_of(module, code, line)] = name
        monitoring.set_local_events(_TOOL, code, monitoring.events.LINE)


def _on_line(code: CodeType, number: int) -> Any:
    name = _wanted.get((code, number))
    if name is not None:
        faults = sys.modules["faults"].faults
        faults.note(f"branch|{name}|{faults.role}")
    return sys.monitoring.DISABLE
