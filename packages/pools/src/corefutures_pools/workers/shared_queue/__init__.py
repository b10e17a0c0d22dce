"""The transport of Linux: one task queue for all workers of a pool, and a result pipe for each worker.

Touches pipes, shared memory, epoll and `/proc`. Guarantees: a call is run by one worker, or revoked, never both.
"""

# Where to begin: `pool` has the picture. A call moves along these states; the module in brackets moves it:
#
#   queued     in the backlog or in the task queue, as a task descriptor      (pool, task_queue, arena)
#   claimed    a worker has read the descriptor                               (worker)
#   running    that worker has entered the call in the status table           (worker, status_table)
#   delivered  the leader has read its result: the future is settled          (frame_reader, inline_wait)
#   revoked    the pool has read the descriptor back: the call is cancelled   (task_queue, pool)
#   orphaned   the worker that had claimed it was lost: the call fails        (claims, pool)
#
# Events: a call is submitted, cancelled or waited for (any thread); a result pipe or a sentinel is readable, the pool
# is woken (event_loop, in the result thread); a waiting thread leads (leader, inline_wait), and stalls (watchdog).
# Every step holds where a signal handler, a finaliser or another thread comes in between (promise F8): so a step that
# must not be split is one call in C, or a few statements without a call.
