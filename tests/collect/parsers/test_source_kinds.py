"""Each kind of source is declared once, in `DocumentKind`: its parser, how it's recognized, and its name in the help."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.cli.sources.collect import collect
from digest.collect import parsers
from digest.collect.documents.parsed_document import DocumentKind

FOLDER = Path(parsers.__file__).parent


@pytest.mark.parametrize("kind", DocumentKind)
def test_the_parser_of_each_kind_has_what_reading_asks_of_it(kind: DocumentKind) -> None:
    assert (FOLDER / f"{kind.parser}.py").exists(), (
        f"{kind!r} names the parser {kind.parser!r}, which isn't in {FOLDER}"
    )
    module = import_module(f"{parsers.__name__}.{kind.parser}")
    assert list(inspect.signature(module.parse).parameters)[1:] == ["kind", "context"]
    assert hasattr(module, "accepts") == kind.is_json, (
        "a parser of JSON says which values are its own, and no other does"
    )


def test_each_parser_is_that_of_a_kind() -> None:
    found = {path.stem for path in FOLDER.glob("*.py") if "\ndef parse(" in path.read_text("utf-8")}
    unnamed = found - {kind.parser for kind in DocumentKind}
    assert not unnamed, (
        f"no kind of DocumentKind (digest/collect/documents/parsed_document.py) names the parsers {unnamed}"
    )


def test_no_two_kinds_share_what_tells_them_apart() -> None:
    signs = [sign for kind in DocumentKind for sign in (*kind.roots, kind.opening, kind.value, kind.label) if sign]
    assert len({*signs}) + sum(kind.value in kind.roots for kind in DocumentKind) == len(signs)


def test_the_help_of_collect_names_each_kind() -> None:
    said = " ".join(CliRunner().invoke(collect, ["--help"]).output.split())
    assert [kind.label for kind in DocumentKind if kind.label not in said] == []
