"""The message catalogs are complete, valid, and match the code and the templates."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from digest.catalogs import CatalogError, compile_catalog, find_catalog, list_languages, load_language
from digest.settings import load_settings
from digest.settings.loader import SettingsError
from tests.message_extraction import extract_messages, message_key

TRANSLATED = [code for code in list_languages() if code != "en"]
PLACEHOLDER = re.compile(r"%\((\w+)\)s|\{(\w+)\}")


def read_shipped(code: str) -> Catalog:
    file = find_catalog(code)
    assert file is not None
    with file.open("rb") as source:
        return read_po(source, abort_invalid=True)


def messages(catalogue: Catalog) -> Iterator[Message]:
    return (message for message in catalogue if message.id)


def forms(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def originals(message: Message) -> list[str]:
    return [message.id] if isinstance(message.id, str) else list(message.id)


def test_english_and_french_come_with_the_program() -> None:
    assert list_languages() == ("en", "fr")


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_catalogue_holds_the_messages_of_today_and_no_others(code: str) -> None:
    """`make messages` gathers them."""
    wanted = {message_key(message) for message in messages(extract_messages())}
    assert {message_key(message) for message in messages(read_shipped(code))} == wanted


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_message_is_translated_for_certain(code: str) -> None:
    catalogue = read_shipped(code)
    assert [m.id for m in messages(catalogue) if m.fuzzy or not all(forms(m))] == []
    assert not catalogue.obsolete
    assert all(len(forms(m)) == catalogue.num_plurals for m in messages(catalogue) if m.pluralizable)


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_the_values_of_its_message(code: str) -> None:
    for message in messages(read_shipped(code)):
        wanted = set(PLACEHOLDER.findall(" ".join(originals(message))))
        for form in forms(message):
            assert set(PLACEHOLDER.findall(form)) == wanted or message.pluralizable, message.id
            # What is left of a percent sign is written twice.
            assert "%" not in PLACEHOLDER.sub("", form).replace("%%", ""), form


@pytest.mark.parametrize("code", TRANSLATED)
def test_messages_hold_no_markup(code: str) -> None:
    """They stand in HTML and in text."""
    for message in messages(read_shipped(code)):
        for text in (*originals(message), *forms(message)):
            assert not re.search(r"[<>&]", text), text
            assert text == text.strip() or not text.strip(" ,;\N{NARROW NO-BREAK SPACE}"), text


def test_french_has_its_spaces_quotes_and_apostrophes() -> None:
    for message in messages(read_shipped("fr")):
        if (message.context or "").startswith("CLDR pattern"):
            continue
        for form in forms(message):
            assert not re.search(r"[^\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}][;:!?»](?=\s|$)", form), form
            assert not re.search(r"«(?!\N{NO-BREAK SPACE})", form), form
            assert "'" not in form, form
            assert '"' not in form, form


def test_a_language_without_a_catalogue_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "digest.toml"
    file.write_text('[publication]\nlanguage = "de"\n')
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {})
    assert "publication.language: there's no catalog for 'de': use one of en, fr, or save a" in str(refused.value)
    assert "docs/translating.md" in str(refused.value)


@pytest.mark.parametrize("code", ["tlh", "e", "fr_FR", "fr-", "../fr", ""])
def test_what_is_no_language_is_refused(code: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        load_language(code, tmp_path)


def test_a_region_takes_the_catalogue_of_its_language() -> None:
    assert load_language("fr-CA").gettext("%(num)s more", num=1) != ""
    assert load_language("fr-CA").code == "fr-CA"
    assert load_language("en-GB").direction == "ltr"


def test_an_operators_own_catalogue_wins_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    own = folder / "digest.po"
    own.write_text(head + 'msgctxt "time zone"\nmsgid "ET"\nmsgstr "Ostküste"\n')
    settings_file = tmp_path / "digest.toml"
    settings_file.write_text('[publication]\nlanguage = "de"\n')
    settings = load_settings(settings_file, {"DIGEST_TEMPLATES": str(tmp_path)})
    assert settings.subscriber_language.pgettext("time zone", "ET") == "Ostküste"
    assert settings.subscriber_language is settings.subscriber_language
    own.write_text(head + 'msgctxt "time zone"\nmsgid "ET"\nmsgstr "New York"\n')
    assert settings.subscriber_language.pgettext("time zone", "ET") == "New York"


def test_a_broken_catalogue_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "digest.po"
    file.write_text('msgid "no end\n')
    with pytest.raises(CatalogError, match=r"can't read the catalog .*digest\.po"):
        compile_catalog(file)
