"""Everything that operators can set, type, or be told is in docs/, and nothing in docs/ is outdated."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from digest.edition.preflight.rule_registry import PREFLIGHT_RULES
from digest.settings import SettingsFileContent, SourceSettings, SponsorSettings
from digest.settings.loader import ENVIRONMENT_FIELDS
from tests.conftest import ROOT
from tests.tools.write_references import COMMANDS_PAGE, DOCTOR_PAGE, write_commands, write_doctor

DOCS = ROOT / "docs"
# Known to the tests alone; no operator sets it.
UNDOCUMENTED_VARIABLES = {"DIGEST_TEST_REQUIRE", "DIGEST_TEST_DATABASE", "DIGEST_TEST_SEED"}


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def sections(name: str) -> dict[str, str]:
    """Give the sections of a page by their headings, of whatever depth."""
    parts = re.split(r"(?m)^##+ (.+)$", page(name))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(section: str) -> set[str]:
    """Give what stands as code in the first cells of a section's table."""
    rows = re.findall(r"(?m)^\| (`(?:[^|]|\\\|)+) \|", section)
    return {code for row in rows for code in re.findall(r"[`, ](--?[\w-]+|[a-z_]+)(?=[`, ])", row)}


def tables(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Name every table of digest.toml below `model` with its keys."""
    nested = {
        key: field.annotation
        for key, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    if name:
        yield f"[{name}]", set(model.model_fields) - set(nested)
    for key, table in nested.items():
        yield from tables(table, f"{name}.{key}".strip("."))


def all_tables() -> dict[str, set[str]]:
    lists = {"sections": "[[sections]]", "sources": "[[sources]]", "sponsor": "[sponsor]"}
    kinds: dict[str, type[BaseModel]] = {
        "[[sections]]": type(SettingsFileContent().sections[0]),
        "[[sources]]": SourceSettings,
        "[sponsor]": SponsorSettings,
    }
    by_heading = dict(tables(SettingsFileContent)) | {
        heading: set(kind.model_fields) for heading, kind in kinds.items()
    }
    plain = {key for key in SettingsFileContent.model_fields if f"[{key}]" not in by_heading}
    assert plain - set(lists) == set(), "a key of digest.toml that is no table: teach this test where it is documented"
    return by_heading


@pytest.mark.parametrize("heading", all_tables())
def test_every_setting_is_documented(heading: str) -> None:
    assert first_cells(sections("settings.md")[heading]) == all_tables()[heading]


def test_no_table_of_settings_is_documented_that_is_none() -> None:
    assert set(sections("settings.md")) == set(all_tables())


def variables_in_code() -> set[str]:
    """Collect the environment's names from every string of the product."""
    files = [ROOT / "scheduler.py", *(ROOT / "digest").rglob("*.py"), *(ROOT / "subscribers").rglob("*.py")]
    named = {name for file in files for name in variables_in_file(file)}
    return (named | ENVIRONMENT_FIELDS.keys()) - UNDOCUMENTED_VARIABLES


def variables_in_file(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"DIGEST_[A-Z_]*[A-Z]", node.value)


def test_every_environment_variable_is_in_the_table_of_the_environment() -> None:
    table = re.findall(r"(?m)^\| (`DIGEST_[^|]+) \|", page("environment.md"))
    assert {name for row in table for name in re.findall(r"DIGEST_[A-Z_]+", row)} == variables_in_code()


@pytest.mark.parametrize(
    ("file", "write"), [(COMMANDS_PAGE, write_commands), (DOCTOR_PAGE, write_doctor)], ids=["commands", "doctor"]
)
def test_a_reference_says_what_the_code_says(file: Path, write: Callable[[], str]) -> None:
    assert file.read_text("utf-8") == write(), f"{file.name} is outdated: run make settings"


def test_every_preflight_rule_is_documented_in_its_own_words() -> None:
    documented = sections("preflight.md")
    assert set(documented) == set(PREFLIGHT_RULES)
    assert [name for name, rule in PREFLIGHT_RULES.items() if rule.description not in documented[name]] == []


def test_every_link_between_the_documents_leads_somewhere() -> None:
    documents = [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)}: {target}"


def list_anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", document.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_to_a_heading_finds_it() -> None:
    links = [
        (document, document.parent / file if file else document, anchor)
        for document in [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
        for file, anchor in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", document.read_text("utf-8"))
    ]
    assert links
    assert [(page.name, anchor) for page, to, anchor in links if anchor not in list_anchors(to)] == []


@pytest.mark.parametrize("name", sorted(file.name for file in DOCS.glob("*.md")))
def test_every_button_that_asks_first_is_named_as_on_its_page(name: str) -> None:
    pages = (file.read_text("utf-8") for file in (ROOT / "templates" / "web").rglob("*.html"))
    texts = re.sub(r"\{\{.*?\}\}", "", "".join(pages))
    named = re.findall(r"\*\*([^*]+)…\*\*", page(name))
    labels = {re.sub(r" \d+$", "", " ".join(label.split())) for label in named}
    assert [label for label in labels if label not in texts] == []


def test_every_picture_is_shown_with_a_description_and_is_small() -> None:
    documents = [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
    shown = {
        (document.parent / target).resolve(): description
        for document in documents
        for description, target in re.findall(r"!\[([^\]]*)\]\(([^)]+\.png)\)", document.read_text("utf-8"))
    }
    pictures = set((DOCS / "pictures").resolve().iterdir())
    assert pictures == set(shown)
    assert [picture.name for picture, description in shown.items() if len(description) < 15] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > 120_000] == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/assurance/asvs.md"])
def test_every_file_and_folder_that_maps_name_is_there(document: str) -> None:
    paths = re.findall(
        r"`((?:digest|subscribers|templates|tests|docs|benchmarks)/[\w./-]*)`", (ROOT / document).read_text("utf-8")
    )
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def first_column(tables: str) -> list[str]:
    """Return the first cells of Markdown tables, without their headings."""
    cells = re.findall(r"(?m)^\| ([^|]+) \|", tables)
    return [cell for cell in cells if cell.lower() != "term"]


def glossary_terms() -> list[str]:
    return first_column(page("glossary.md").partition("\n## Older words")[0])


def test_contributing_says_where_each_term_of_the_glossary_is_in_code() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = contributing.partition("### Users' words in code")[2].partition("\n### ")[0]
    located = [term for cell in first_column(section) for term in cell.split(", ")]
    assert sorted(located) == sorted(glossary_terms())
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| term |")]
    assert [row for row in rows if not re.search(r"`\w+/[\w./]+` \|$", row)] == []


def test_the_glossary_has_each_term_once_and_no_path_of_code() -> None:
    """It's for users. Developers' words and the modules are in CONTRIBUTING.md."""
    terms = glossary_terms()
    assert terms
    assert len(terms) == len(set(terms))
    assert re.findall(r"\b(?:digest|subscribers|templates|tests)/", page("glossary.md")) == []


def test_every_product_folder_stands_on_the_map() -> None:
    """A folder is named by itself or by one above it."""
    named = set(re.findall(r"(?m)`([\w./]+)/`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    folders = {
        file.parent.relative_to(ROOT).as_posix()
        for top in ("digest", "subscribers")
        for file in (ROOT / top).rglob("*.py")
    }
    tops = {"digest", "digest/deliver", "subscribers", "subscribers/store"}
    missing = {f for f in folders - tops if not any(f == name or f.startswith(f"{name}/") for name in named)}
    assert missing == set()
