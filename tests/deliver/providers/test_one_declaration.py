"""A provider is declared in its own folder. No other module names it, and its declaration is complete."""

from pathlib import Path

import pytest

import digest.app.doctor.examination  # noqa: F401 - registers the checks
from digest.app.doctor.check_registry import DOCTOR_CHECKS
from digest.app.doctor.received_message import MESSAGE_CHECKS
from digest.deliver.providers.kind import ProviderKind
from digest.deliver.providers.registry import load_provider_kinds
from digest.settings.loader import ENVIRONMENT_FIELDS
from digest.settings.model import PROVIDERS_FOLDER
from tests.conftest import ROOT

TEXTS = {".py", ".toml", ".html", ".txt", ".css", ".js", ".json", ".yaml", ".xml", ".service", ".conf", ".mako"}
SERVICES = [kind for kind in load_provider_kinds() if kind.account]


def _product_files() -> list[Path]:
    files = [file for top in ("digest", "subscribers", "templates") for file in (ROOT / top).rglob("*")]
    # A migration says what a release before it stored, and keeps saying it.
    return [ROOT / "scheduler.py", *(f for f in files if f.suffix in TEXTS and "migrations" not in f.parts)]


@pytest.mark.parametrize("kind", SERVICES, ids=lambda kind: kind.name)
def test_nothing_outside_its_folder_names_a_provider(kind: ProviderKind) -> None:
    own = PROVIDERS_FOLDER / kind.name
    others = [file for file in _product_files() if not file.is_relative_to(own)]
    names = {kind.name.casefold(), kind.title.casefold()}
    assert len(others) > 500
    assert [
        f"{file.relative_to(ROOT)}:{number}"
        for file in others
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1)
        if any(name in line.casefold() for name in names)
    ] == []


@pytest.mark.parametrize("kind", load_provider_kinds(), ids=lambda kind: kind.name)
def test_a_provider_says_what_to_do_about_whatever_it_offers(kind: ProviderKind) -> None:
    offers = {"provider-events": kind.webhook, "suppression-lists": kind.suppressions}
    assert {check for check, offered in offers.items() if offered} <= kind.remedies.keys()
    assert kind.remedies.keys() <= DOCTOR_CHECKS.keys() | MESSAGE_CHECKS.keys()


@pytest.mark.parametrize("kind", load_provider_kinds(), ids=lambda kind: kind.name)
def test_an_answer_of_setup_is_named_like_its_provider_and_asked_in_words(kind: ProviderKind) -> None:
    for key, field in kind.questionnaire.model_fields.items():
        assert key.startswith(f"{kind.name}_")
        assert field.title
    assert set(kind.questionnaire.variables().values()) <= ENVIRONMENT_FIELDS.keys()


def test_variables_are_read_from_the_folders_of_providers_alone() -> None:
    assert {file.parent.name for file in PROVIDERS_FOLDER.glob("*/variables.toml")} <= {
        k.name for k in load_provider_kinds()
    }
