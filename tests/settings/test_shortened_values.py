"""How settings that are secrets, or URLs that contain one, are shown and logged."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from digest.settings import AlertSettings, Settings, SettingsFileContent, SourceSettings
from digest.settings.table_values import describe_change, redact_setting_values

HOOK = "https://hooks.example.org/services/T0/s3cret"


def list_texts(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """List every setting of the file that holds a text or texts, with its table."""
    for name, field in model.model_fields.items():
        tables = [part for part in (field.annotation, *get_args(field.annotation)) if is_table(part)]
        for table in tables:
            yield from list_texts(table)
        if not tables and (field.annotation is str or str in get_args(field.annotation)):
            yield model, name


def is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@pytest.mark.parametrize("address", ["https://u:s3cret@a.test/feed", "https://a.test/feed?key=s3cret"])
def test_no_setting_shows_the_secret_of_an_address(address: str) -> None:
    texts = list(list_texts(SettingsFileContent))
    assert {(AlertSettings, "webhook"), (SourceSettings, "url")} <= set(texts)
    for table, name in texts:
        for value in (address, [address]):
            shown = str(redact_setting_values(table, {name: value})[name])
            assert "a.test/" in shown
            assert "s3cret" not in shown


def test_of_a_webhook_the_host_is_shown_and_that_it_changed() -> None:
    before, after = AlertSettings(webhook=HOOK), AlertSettings(webhook=f"{HOOK}2")
    assert describe_change(before, after, ["webhook", "mail"]) == {
        "before": {"webhook": "https://hooks.example.org/…"},
        "after": {"webhook": "https://hooks.example.org/… (another)"},
    }
    assert describe_change(AlertSettings(), before, ["webhook"])["before"] == {"webhook": ""}
    plain = SourceSettings(url="https://a.test/feed", name="A", publisher="A")
    assert describe_change(None, plain, ["url"])["after"] == {"url": "https://a.test/feed"}


def test_secrets_of_the_environment_are_no_texts() -> None:
    """They are `SecretStr`, which no log and no page writes out."""
    words = ("passphrase", "password", "secret", "token", "api_key", "mail_url")
    named = [name for name in Settings.model_fields if any(word in name for word in words)]
    assert len(named) > 5
    for name in named:
        annotation = Settings.model_fields[name].annotation
        assert SecretStr in {annotation, *get_args(annotation)}, name
