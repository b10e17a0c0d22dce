"""The versions of the contract: the frozen list of the rules of each, their differences, and the page CONTRACT.md.

`python -m corefutures_conformance.contract CONTRACT.md` writes the page and the list of the current version.
"""
