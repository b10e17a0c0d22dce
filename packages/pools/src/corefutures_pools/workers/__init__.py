"""Isolated workers, for backends over processes and interpreters.

On both sides: `messages` (descriptors and frames), `serialization`, `marshalled`. In a worker: `worker_loop`, over
`shared_queue.worker` or `pipes.worker`; these never import the caller's modules. In the caller: `future`, `pool`, and
two transports, `shared_queue` and `pipes`. A backend adds an `interface.WorkerLauncher`: how a worker starts and ends.
"""
