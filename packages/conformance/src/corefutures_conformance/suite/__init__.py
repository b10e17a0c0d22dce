"""The rules, one file a chapter, in reading order."""

from __future__ import annotations

from corefutures_conformance.suite.as_completed import AsCompleted
from corefutures_conformance.suite.callbacks import Callbacks
from corefutures_conformance.suite.cancelling import Cancelling
from corefutures_conformance.suite.concurrency import Concurrency
from corefutures_conformance.suite.control import Control
from corefutures_conformance.suite.exceptions import Exceptions
from corefutures_conformance.suite.forking import Forking
from corefutures_conformance.suite.initializing import Initializing
from corefutures_conformance.suite.interoperation import Interoperation
from corefutures_conformance.suite.mapping import Mapping
from corefutures_conformance.suite.memory_limits import MemoryLimits
from corefutures_conformance.suite.resources import Resources
from corefutures_conformance.suite.results import Results
from corefutures_conformance.suite.scopes import Scopes
from corefutures_conformance.suite.sharing import Sharing
from corefutures_conformance.suite.shutting_down import ShuttingDown
from corefutures_conformance.suite.slots import Slots
from corefutures_conformance.suite.spares import Spares
from corefutures_conformance.suite.stateful import Stateful
from corefutures_conformance.suite.streaming import Streaming
from corefutures_conformance.suite.stress import Stress
from corefutures_conformance.suite.submitting import Submitting
from corefutures_conformance.suite.transport import Transport
from corefutures_conformance.suite.waiting import Waiting
from corefutures_conformance.suite.worker_loss import WorkerLoss
from corefutures_conformance.suite.worker_values import WorkerValues

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
    Scopes,
    Streaming,
    WorkerValues,
    Sharing,
    Spares,
    Slots,
    MemoryLimits,
    Resources,
    Forking,
    Interoperation,
    Stress,
    Stateful,
)
"""Every chapter, in reading order."""
