"""The architecture in one list: a module imports from its own layer or from those below it."""

import ast
import enum
import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from sqlalchemy.orm import DeclarativeBase

from tests.conftest import ROOT
from tests.face_imports import FACE_EXCEPTIONS

# Top to bottom; what stands on one line may import each other. The one exception is the import of `scheduler` inside
# `digest serve`. The longest name that fits a module says its layer.
LAYERS = (
    ("digest.cli", "digest.__main__"),
    ("scheduler",),
    ("digest.web",),
    ("digest.app",),
    ("digest.installation",),
    ("digest.backups",),
    ("digest.deliver.send",),
    ("digest.deliver.retention",),
    ("digest.deliver.inbound",),
    ("digest.deliver.providers",),
    ("digest.deliver.events",),
    ("digest.deliver.control",),
    ("digest.deliver.plan",),
    ("digest.deliver.compose",),
    ("digest.edition",),
    ("digest.select",),
    ("digest.collect",),
    ("digest.store", "digest.migrations"),
    (
        "digest.settings",
        "digest.scoring_terms",
        "digest.timetable",
        "digest.templating",
        "digest.logs",
        "digest.stop_signals",
        "digest.folder_owner",
        "digest",
    ),
    ("subscribers.pages",),
    ("subscribers.lifecycle",),
    ("subscribers.signup",),
    ("subscribers.transfer",),
    ("subscribers.consent",),
    ("subscribers.store",),
    ("subscribers.crypto",),
    ("subscribers",),
)
MAX_ROOMS, MAX_ROOM_IMPORTS = 20, 60  # in one package
MIN_MODULE_LINES, MAX_MODULE_LINES = 150, 420  # of a module with one importer, and of that importer with it
ALONE = (  # have one importer, and a reason
    "digest.collect.sandbox.child",  # runs in the child process
    "digest.cli",  # is what `python -m digest` runs
    "digest.web.admin.accounts",  # a page module that the list of pages gathers
    "digest.web.health",  # the same
    "subscribers.transfer.writer_process",  # runs as a process of its own
)
FACES = ("digest.cli", "digest.web", "scheduler")
# What a process needs before it can act, and what makes pages: no face goes around an act by it.
FACE_TOOLS = (
    "digest.settings",
    "digest.logs",
    "subscribers.garbage_collection",
    "digest.stop_signals",
    "digest.folder_owner",
    "digest.templating",
    "digest.timetable",
    "subscribers.loggers",
    "subscribers.pages",
    "subscribers.english_text",
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


def within(module: str, names: tuple[str, ...]) -> bool:
    """Say whether a module is, or stands below, one of `names`."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


@cache
def imports(tree: ast.AST, *, when_loaded: bool = False) -> tuple[str, ...]:
    """Name all that a module imports: inside functions and for types too, or only what it imports when it is loaded."""
    return tuple(_find_imports(tree, when_loaded=when_loaded))


def _find_imports(tree: ast.AST, *, when_loaded: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr):
            continue
        late = isinstance(node, ast.FunctionDef)
        late |= isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if when_loaded and late:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _find_imports(node, when_loaded=when_loaded)


def upward(module: str, tree: ast.AST) -> list[str]:
    """List the imports of a module that point up."""
    own = layer(module)
    assert own is not None, f"{module} stands in no layer"
    return [name for name in imports(tree) if (target := layer(name)) is not None and target < own]


@cache
def modules() -> dict[str, ast.Module]:
    """Parse every module of the product, by name."""
    return {name: ast.parse(file.read_text("utf-8")) for name, file in module_files().items()}


def module_files() -> dict[str, Path]:
    """Give the file of every module of the product, by name."""
    files = [ROOT / "scheduler.py", *(ROOT / "digest").rglob("*.py"), *(ROOT / "subscribers").rglob("*.py")]
    names = {module_name(file): file for file in sorted(files)}
    return {name: file for name, file in names.items() if "versions" not in name}


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_of(name: str) -> str:
    """Give the module of the product that an imported name belongs to; empty for a foreign one."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name


def test_imports_point_down() -> None:
    assert {module: wrong for module, tree in modules().items() if (wrong := upward(module, tree))} == {}


def test_a_planted_upward_import_is_found() -> None:
    planted = ast.parse("def f():\n    from digest.app.editions.drafting import draft\n")
    assert upward("digest.select.ranking", planted) == ["digest.app.editions.drafting.draft"]


def test_people_know_nothing_of_newsletters() -> None:
    for module, tree in modules().items():
        if module.startswith("subscribers"):
            assert not [name for name in imports(tree) if name.split(".")[0] == "digest"], module


def test_no_import_circle() -> None:
    graph = {
        module: {module_of(name) for name in imports(tree, when_loaded=True)} - {"", module}
        for module, tree in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def room_arrows(package: str) -> set[tuple[str, str]]:
    """List which rooms of a package import which: a room is a module or a package directly within it."""
    prefix = f"{package}."
    return {
        (own, other)
        for module, tree in modules().items()
        if module.startswith(prefix)
        for name in imports(tree)
        if name.startswith(prefix)
        if (own := module.removeprefix(prefix).partition(".")[0])
        != (other := module_of(name).removeprefix(prefix).partition(".")[0])
        and module_of(name) != package
    }


@pytest.mark.parametrize(
    "package", sorted({name.rpartition(".")[0] for name in module_files()} - {"", "digest", "subscribers"})
)
def test_a_package_has_few_rooms_in_layers(package: str) -> None:
    """At most 20 rooms with 60 imports among them, and none around in a circle. `LAYERS` judges the two at the top."""
    rooms = {name.removeprefix(f"{package}.").partition(".")[0] for name in modules() if name.startswith(f"{package}.")}
    arrows = room_arrows(package)
    assert len(rooms) <= MAX_ROOMS, f"{package} has {len(rooms)} rooms: put what belongs together into one"
    assert len(arrows) <= MAX_ROOM_IMPORTS, f"{len(arrows)} imports among the rooms of {package}"
    try:
        TopologicalSorter({room: {b for a, b in arrows if a == room} for room in rooms}).prepare()
    except CycleError as error:
        pytest.fail(f"rooms of {package} import each other: {' -> '.join(error.args[1])}")


def list_foldable_modules() -> list[str]:
    """List the small modules with one importer in the same package that would have room for them.

    A module that nothing imports is loaded by its name (a command, a provider, a section kind), and one that only its package imports
    is in a registry.
    """
    importers: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules().items():
        for name in imports(tree):
            importers[module_of(name)].add(module)
    lines = {module: len(file.read_text("utf-8").splitlines()) for module, file in module_files().items()}
    return [
        f"{module}, into {user}"
        for module, users in sorted(importers.items())
        if module and len(others := users - {module}) == 1 and lines[module] < MIN_MODULE_LINES
        if module.rpartition(".")[0] == (user := next(iter(others))).rpartition(".")[0]
        if lines[module] + lines[user] <= MAX_MODULE_LINES and module not in ALONE
    ]


def test_a_module_has_two_callers_or_many_lines() -> None:
    assert list_foldable_modules() == []


def test_a_class_name_stands_in_one_module() -> None:
    """Where one protocol needs several forms of one name, it is named here with their number, at most 3; none does."""
    places = defaultdict(set)
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].add(module)
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


def is_value_or_error(name: str) -> bool:
    """Say whether an imported name of the product is a value, a class of values, an error or a type.

    So are rows of the database, since what a face changes in one is never stored: sessions for reading are rolled back.
    """
    if name in modules():
        return False
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    if inspect.isroutine(thing):
        return False
    if not isinstance(thing, type):
        return True
    values = (BaseException, enum.Enum, tuple, DeclarativeBase)
    return is_dataclass(thing) or issubclass(thing, values) or getattr(thing, "_is_protocol", False)


def reached_below_app() -> set[tuple[str, str]]:
    """List the pairs of a face's module and a module below `digest.app` from which it takes more than values."""
    app = layer("digest.installation")
    assert app is not None
    return {
        (module, module_of(name))
        for module, tree in modules().items()
        if within(module, FACES)
        for name in imports(tree)
        if (depth := layer(name)) is not None
        and depth > app
        and not within(name, (*FACE_TOOLS, "digest.app", "digest.installation"))
        and not is_value_or_error(name)
    }


def test_faces_act_through_the_application_layer() -> None:
    """`FACE_EXCEPTIONS` only ever gets shorter: an entry that is not needed any more is taken out."""
    reached = reached_below_app()
    assert sorted(reached - FACE_EXCEPTIONS) == [], "call a function of digest.app instead"
    assert sorted(FACE_EXCEPTIONS - reached) == [], "not needed any more: take them out of tests/face_imports.py"
