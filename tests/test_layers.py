"""The architecture in one list: a module imports from its own layer or from those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Top to bottom. The one exception is the import of `scheduler` inside `digest serve`.
LAYERS = (
    ("digest.cli", "digest.__main__"),
    ("scheduler",),
    ("digest.web",),
    ("digest.app", "digest.backups"),
    ("digest.deliver",),
    ("digest.edition",),
    ("digest.select",),
    ("digest.collect",),
    ("digest.app.installation", "digest.app.copy_guard", "digest.store.staff"),
    ("digest.app.live_settings",),
    (
        "digest.store.engine",
        "digest.store.models",
        "digest.store.connections",
        "digest.store.delivery_models",
        "digest.deliver.control.installation_hold",  # with its memos: a database is held before anything of a newsletter is known
        "digest.deliver.control.installation_state",
        "digest.store.process_owner",
        "digest.settings",
        "digest.timetable",
        "digest.templating",
        "digest.logs",
        "digest.migrations",
        "digest",
    ),
    ("subscribers",),
)


def layer(module: str) -> int | None:
    """Give the depth of a module's layer, the longest name winning; None for a foreign one."""
    depths = [
        (len(name), depth)
        for depth, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(depths)[1] if depths else None


def imports(source: str) -> Iterator[str]:
    """Name all that a source text imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward(module: str, source: str) -> list[str]:
    """List the imports of a module that point up."""
    here = layer(module)
    assert here is not None, f"{module} stands in no layer"
    return [name for name in imports(source) if (there := layer(name)) is not None and there < here]


def modules() -> Iterator[tuple[str, Path]]:
    """Name every module of the product with its file."""
    for file in [ROOT / "scheduler.py", *(ROOT / "digest").rglob("*.py"), *(ROOT / "subscribers").rglob("*.py")]:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "versions" not in name:
            yield name, file


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_down(module: str, file: Path) -> None:
    assert upward(module, file.read_text("utf-8")) == []


def test_a_planted_upward_import_is_found() -> None:
    planted = "def f():\n    from digest.app.editions import draft\n"
    assert upward("digest.select.ranking", planted) == ["digest.app.editions.draft"]


def test_people_know_nothing_of_newsletters() -> None:
    for module, file in modules():
        if module.startswith("subscribers"):
            assert not [n for n in imports(file.read_text("utf-8")) if n.split(".")[0] == "digest"], module
