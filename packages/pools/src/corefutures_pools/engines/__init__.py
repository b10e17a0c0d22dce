"""What backends on the schedulers of other projects have in common: MPI, SLURM, Ray.

Touches the adapter, and cloudpickle, on which each such backend depends. Guarantees: a call is pickled before `submit`
returns (E4); at most `max_workers` calls are with the scheduler, so that those that wait can be cancelled.
"""
