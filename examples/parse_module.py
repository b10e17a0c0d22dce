"""Parses one Python source file, or one function: real work of some milliseconds, or of a fraction of one.

Try: corefutures map -b thread parse_module:summary *.py
"""

from __future__ import annotations

import ast
import hashlib
import textwrap
from pathlib import Path


def summary(path: str) -> dict[str, str | int]:
    """Count what a source file defines, and digest what it says apart from layout and comments.

    Args:
        path: The file.

    Returns:
        The file's counts, and the digest of its syntax tree; of a file that is no Python, the reason.
    """
    source = Path(path).read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return {"path": path, "not_python": type(error).__name__}
    nodes = list(ast.walk(tree))
    return {
        "path": path,
        "lines": source.count(b"\n"),
        "functions": sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "digest": hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()[:16],
    }


def functions(path: str) -> list[str]:
    """The source of each function of a file that is Python; none of another."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    lines = text.split("\n")
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) for node in found]


def fingerprint(source: str) -> str:
    """The digest of what a function's source says apart from layout and comments; of what is no Python, the reason."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return type(error).__name__
    return hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).hexdigest()[:16]
