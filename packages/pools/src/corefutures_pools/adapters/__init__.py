"""Backends made of other projects' pools by `adapt`, one module for each; available where that project is installed.

Imports nothing.
"""
