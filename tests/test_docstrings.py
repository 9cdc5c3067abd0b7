"""Names in docstrings (`module.name`, `package.module.name`, `ClassName.name`, setting keys) exist, and RFC sections are correct."""

import ast
import re
from collections.abc import Iterator

import pytest

from digest.settings.model import SettingsFileContent
from tests.conftest import ROOT
from tests.test_layers import modules

DOTTED_NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)`")
FILE_ENDINGS = ("csv", "env", "html", "json", "log", "toml", "tsv")
# "RFC 5321, section 4.5.3.2" and "RFC 2606, sections 2 and 3" are right; a line break may stand in either.
LINE_BREAK = re.compile(r"""[ "']*\n[ #"']*""")
INCOMPLETE_RFC = re.compile(r"\bRFCs?[ -]?\d+(?!\d)(?!, section \d|, sections \d[\d.]*(?:, \d[\d.]*)*,? (?:and|to) \d)")
TEXT_SUFFIXES = {".css", ".html", ".js", ".json", ".mako", ".po", ".py", ".service", ".toml", ".txt", ".xml", ".yaml"}


def defined_names(body: list[ast.stmt]) -> set[str]:
    """Name what a module or a class defines or imports."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names


def product_classes() -> dict[str, set[str]]:
    """Give the names that each class of the product defines; a class name is in one module."""
    return {
        node.name: defined_names(node.body) | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def list_references() -> Iterator[tuple[str, str]]:
    """Yield the dotted names in docstrings, each with its module."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                yield from ((module, name) for name in DOTTED_NAME.findall(docstring))


class NameIndex:
    """What a dotted name can refer to."""

    def __init__(self) -> None:
        self.classes = product_classes()
        self.names = {module: defined_names(tree.body) for module, tree in modules().items()}
        self.settings = {
            f"{table}.{key}"
            for table, field in SettingsFileContent.model_fields.items()
            for key in getattr(field.annotation, "model_fields", {})
        }

    def is_known(self, reference: str) -> bool:
        """Tell whether a name can be resolved, or isn't one of the product's."""
        first, _, rest = reference.partition(".")
        if reference.rpartition(".")[2] in FILE_ENDINGS or reference in self.settings:
            return True
        if first in self.classes:
            return rest.partition(".")[0] in self.classes[first]
        ends = [
            module for module in self.names if f".{module}.".endswith(f".{first}.") or f".{first}." in f".{module}."
        ]
        return not ends or any(self._is_in(module, reference) for module in self.names)

    def _is_in(self, module: str, reference: str) -> bool:
        """Tell whether a module's full name ends as the reference begins, and the module has the rest."""
        parts = reference.split(".")
        for length in range(1, len(parts) + 1):
            if f".{module}".endswith("." + ".".join(parts[:length])):
                rest = parts[length:]
                if not rest or rest[0] in self.names[module]:
                    return len(rest) < 2 or rest[1] in self.classes.get(rest[0], {rest[1]})
        return False


@pytest.fixture(scope="module")
def index() -> NameIndex:
    return NameIndex()


def test_every_name_in_a_docstring_exists(index: NameIndex) -> None:
    unknown = [f"{module}: `{name}`" for module, name in list_references() if not index.is_known(name)]
    assert unknown == []


def test_a_name_that_does_not_exist_is_found(index: NameIndex) -> None:
    assert index.is_known("delivery_claims.claim_deliveries")
    assert index.is_known("limits.fetch_bytes")
    assert not index.is_known("delivery_claims.mark_nothing")
    assert not index.is_known("DeliveryEvent.no_such_field")
    assert not index.is_known("digest.app.no_such_module")


def find_incomplete_rfcs(text: str) -> list[str]:
    """Find the mentions of an RFC that don't name a section of it."""
    return INCOMPLETE_RFC.findall(re.sub(r" +", " ", LINE_BREAK.sub(" ", text)))


def test_every_rfc_is_mentioned_with_its_section() -> None:
    folders = [ROOT / name for name in ("digest", "subscribers", "templates")]
    files = [ROOT / "scheduler.py", *(file for folder in folders for file in sorted(folder.rglob("*")))]
    texts = {file: file.read_text("utf-8", "replace") for file in files if file.suffix in TEXT_SUFFIXES}
    assert sum(text.count("RFC ") for text in texts.values()) > 100
    incomplete = [
        f"{file.relative_to(ROOT)}: {found}" for file, text in texts.items() for found in find_incomplete_rfcs(text)
    ]
    assert incomplete == []


@pytest.mark.parametrize(
    ("text", "incomplete"),
    [
        ("# RFC 5321, section 4.5.3.2: MAIL", 0),
        ("under reserved names (RFC 2606, sections 2 and 3)", 0),
        ("# RFC 2142, sections 3 to 5, and others", 0),
        ("limits of RFC\n    # 5321, section\n    # 4.5.3.2", 0),
        ('"so many (RFC 5321, "\n    "section 4.5.3.2)"', 0),
        ("message/rfc822", 0),
        ("SMTP (RFC 5321)", 1),
        ("RFC 5321, 4.5.3.2", 1),
        ("RFC 5321 section 4.5.3.2", 1),
        ("RFC 2606, sections 2", 1),
        ("RFC5321 and RFC-5322", 2),
        ("by RFC\n    5321.", 1),
    ],
)
def test_an_rfc_without_its_section_is_found(text: str, incomplete: int) -> None:
    assert len(find_incomplete_rfcs(text)) == incomplete
