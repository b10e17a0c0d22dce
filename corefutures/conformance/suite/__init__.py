"""The rules, one file a chapter, in reading order."""

from __future__ import annotations

from corefutures.conformance.suite.cancelling import Cancelling
from corefutures.conformance.suite.submitting import Submitting

CHAPTERS: tuple[type, ...] = (Submitting, Cancelling)
