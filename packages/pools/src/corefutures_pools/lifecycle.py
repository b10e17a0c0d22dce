"""The objects of one kind that are alive, for the end of the interpreter and for a fork: see `LiveObjects`.

Touches the core's instrumentation, which has the living executors. Guarantees: keeps none of them alive.
"""

from corefutures._instrumentation import LiveObjects as LiveObjects
