"""The rules, one file a chapter, in reading order."""

from __future__ import annotations

from corefutures.conformance.suite.as_completed import AsCompleted
from corefutures.conformance.suite.callbacks import Callbacks
from corefutures.conformance.suite.cancelling import Cancelling
from corefutures.conformance.suite.concurrency import Concurrency
from corefutures.conformance.suite.control import Control
from corefutures.conformance.suite.exceptions import Exceptions
from corefutures.conformance.suite.forking import Forking
from corefutures.conformance.suite.initializing import Initializing
from corefutures.conformance.suite.interoperation import Interoperation
from corefutures.conformance.suite.mapping import Mapping
from corefutures.conformance.suite.resources import Resources
from corefutures.conformance.suite.results import Results
from corefutures.conformance.suite.shutting_down import ShuttingDown
from corefutures.conformance.suite.stateful import Stateful
from corefutures.conformance.suite.stress import Stress
from corefutures.conformance.suite.submitting import Submitting
from corefutures.conformance.suite.transport import Transport
from corefutures.conformance.suite.waiting import Waiting
from corefutures.conformance.suite.worker_loss import WorkerLoss

CHAPTERS: tuple[type, ...] = (
    Submitting,
    Results,
    Exceptions,
    Cancelling,
    Callbacks,
    Mapping,
    Waiting,
    AsCompleted,
    ShuttingDown,
    Initializing,
    WorkerLoss,
    Transport,
    Concurrency,
    Control,
    Resources,
    Forking,
    Interoperation,
    Stress,
    Stateful,
)
"""Every chapter, in reading order."""
