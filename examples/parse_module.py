"""Parses one Python source file: real work of a few milliseconds, for `corefutures map`.

Try: corefutures map -b thread parse_module:summary *.py
"""

from __future__ import annotations

import ast
import hashlib
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
