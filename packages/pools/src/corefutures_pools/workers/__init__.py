"""What backends with isolated workers share: processes and interpreters (section 5 of the design).

Both sides: `frames` (the bytes), `payload`, `plain` (objects as bytes). The worker's side: `worker`. The caller's
side: `future`, `pool` (table of calls, states), and the two ways of reaching workers, `tickets` and `pairs`. A
backend adds a `crew.WorkerLauncher`: how a worker starts and ends. The worker's modules never import the caller's.
"""
