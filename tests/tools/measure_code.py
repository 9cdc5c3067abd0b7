"""Measure the product's code by package, in tokens without comments, docstrings, and migrations.

Tokens are counted rather than lines, so that neither long lines nor short names make the product look smaller.
"""

import ast
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

MAX_LINE_TOKENS = 25  # a longer line does several things at once
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class CodeSize:
    """The size of some modules. `lines` counts those that have a token."""

    modules: int = 0
    functions: int = 0
    lines: int = 0
    tokens: int = 0
    dense_lines: list[str] = field(default_factory=list)

    def add(self, other: "CodeSize") -> None:
        """Add the size of other modules to this one."""
        self.modules += other.modules
        self.functions += other.functions
        self.lines += other.lines
        self.tokens += other.tokens
        self.dense_lines += other.dense_lines


def list_product_files() -> Iterator[tuple[str, Path]]:
    """Yield each module of the product with its package, as `digest/app` or `subscribers`; migrations are left out."""
    yield "scheduler.py", ROOT / "scheduler.py"
    for top in ("digest", "subscribers"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).parts
            if "migrations" not in parts:
                yield "/".join(parts[:2]) if top == "digest" and len(parts) > 2 else top, file


def find_docstrings(tree: ast.Module) -> set[tuple[int, int]]:
    """Find where docstrings begin: line, and column in characters."""
    return {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in ast.walk(tree)
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
    }


def measure_file(file: Path) -> CodeSize:
    """Measure one module."""
    tree = ast.parse(file.read_bytes())
    docstrings = find_docstrings(tree)
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))
    lines: Counter[int] = Counter()
    with file.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type not in LAYOUT and token.start not in docstrings:
                lines[token.start[0]] += 1
    dense = [f"{file.relative_to(ROOT)}:{line}" for line, tokens in lines.items() if tokens > MAX_LINE_TOKENS]
    return CodeSize(1, functions, len(lines), lines.total(), dense)


def measure_packages() -> dict[str, CodeSize]:
    """Measure the product by package."""
    sizes: dict[str, CodeSize] = {}
    for package, file in list_product_files():
        sizes.setdefault(package, CodeSize()).add(measure_file(file))
    return sizes


def main() -> None:
    """Print a row for each package, and the total."""
    sizes = measure_packages()
    total = CodeSize()
    for size in sizes.values():
        total.add(size)
    print(f"{'package':<20}{'modules':>9}{'functions':>11}{'lines':>9}{'tokens':>10}{'per line':>10}{'dense':>7}")
    for package, size in (*sorted(sizes.items()), ("all", total)):
        per_line = size.tokens / size.lines
        print(
            f"{package:<20}{size.modules:>9,}{size.functions:>11,}{size.lines:>9,}"
            f"{size.tokens:>10,}{per_line:>10.1f}{len(size.dense_lines):>7,}"
        )


if __name__ == "__main__":
    main()
