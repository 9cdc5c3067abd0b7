"""The guarded area of every action and setting. A new one without a row here fails."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

import digest.app
import digest.installation
from digest.installation.audited_actions import Action
from digest.installation.guarded_action_notices import choose_recipients
from digest.settings import SettingsFileContent
from digest.settings.guarded_areas import GuardedArea, find_guarded_area
from digest.settings.values import SettingsTable

ACTIONS = {
    GuardedArea.ACCOUNTS: "passkey added, passkey removed, password or app set, recovery codes made, sign-in link made, sign-in reset, "
    "staff added, staff link mailed, staff removed, staff role changed",
    GuardedArea.ADDRESSES: "address correction withdrawn, address suppressed, addresses searched, backed up, data link mailed, import abandoned, import tried, import undone, "
    "adoption tried, suppressions adopted, suppressions exported, links renewed, list imported, list uploaded, people re-asked, "
    "preferences changed, refused suppressed, rejected rows taken, row outcomes taken, "
    "silent readers asked, subscriber added, subscriber address shown, subscriber erased, subscriber looked up, subscriber shown, "
    "subscriber withdrawn, uncertain settled by a log",
    GuardedArea.BACKUPS: "moved to another database, restored",
    GuardedArea.BY_SETTING: "settings changed",
    GuardedArea.CONSENT: "address correction requested, sign-up allowed, subscriber restored",
    GuardedArea.EXPORT: "list exported",
    GuardedArea.KEYS: "key rotated, keys protected, keys restored, keys unprotected",
    GuardedArea.SENDER: "set up",
    GuardedArea.SENDING: "held, released",
    GuardedArea.NONE: "added release, alert tested, approve, audit log checked, audit log exported, audit log shown, "
    "backups looked at, breaking news drafted, cancelled, clipboard, collected, consent wordings listed, corrected, correction email approved, correction email requested, deliveries shown, "
    "domain dropped, domain sent, draft, draft updated, edited, growth looked at, imported past editions, inbound mail read, installation examined, keys listed, "
    "ledger sealed, ledger verified, letter keys switched, logo kept, looked again, moved release, name changed, passkey renamed, paused, "
    "people counted, pictures fetched, readers listed, record of processing shown, refusals acknowledged, refused sent again, reinstated an approval, restored release, "
    "resumed, send, send now, sent back, sent-back note done, sessions ended, sign-in link requested, settings looked at, skipped release, source added, "
    "source changed, source removed, sources looked at, staff listed, staff signed out, subscriber record opened, "
    "suppressions pulled, template copied, test, uncertain sent again, uncertain taken as accepted, uncertain taken as lost, "
    "upload removed, uploads listed, verification link requested, void approval",
}
# Settings by what they declare: a whole table, or one setting of it.
SETTINGS = {
    GuardedArea.ALERTS: "alerts heartbeats inbound relay schedule.at_gone_article schedule.final_check_minutes",
    GuardedArea.APPROVAL: "approval schedule.at_deadline",
    GuardedArea.BACKUPS: "backup",
    GuardedArea.CONSENT_TEXT: "publication.language publication.name consent",
    GuardedArea.LOOK: "branding",
    GuardedArea.LIMITS: "limits",
    GuardedArea.NETWORK: "limits.allow_networks limits.proxies",
    GuardedArea.RETENTION: "retention",
    GuardedArea.SENDER: "publication.site relay.dkim_record sender",
    GuardedArea.SEND_TIME: "schedule.send",
    GuardedArea.TEXT: "publication.about sections.title",
    GuardedArea.NONE: "preferences publication readership schedule sections select select.weights sources sponsor",
}


def list_actions() -> Iterator[Action]:
    """Find the actions of `digest.app`, also those in a mapping."""
    for package in (digest.app, digest.installation):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(found.name)).values():
                yield from (
                    each
                    for each in (value.values() if isinstance(value, dict) else [value])
                    if isinstance(each, Action)
                )


def list_tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Find the tables below a table of the settings, by their names in `digest.toml`."""
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, SettingsTable):
                yield f"{prefix}{name}", kind
                yield from list_tables(kind, f"{prefix}{name}.")


def test_every_action_declares_what_it_weakens_or_touches() -> None:
    declared: dict[GuardedArea, set[str]] = {}
    for action in list_actions():
        declared.setdefault(action.guarded_area, set()).add(action.name)
        assert action.words, (
            f"{action.name}: digest/installation/actions.toml says what was done, for the log and for emails"
        )
    assert declared == {area: set(names.split(", ")) for area, names in ACTIONS.items()}


def test_every_setting_declares_what_it_weakens_or_touches() -> None:
    expected = {name: area for area, names in SETTINGS.items() for name in names.split()}
    tables = dict(list_tables(SettingsFileContent))
    assert {name.split(".")[0] for name in tables} == SettingsFileContent.model_fields.keys()
    for table, model in tables.items():
        for name in model.model_fields.keys() - {name.rpartition(".")[2] for name in tables if "." in name}:
            wanted = expected.get(f"{table}.{name}", expected.get(table))
            assert find_guarded_area(model, name) is wanted, f"{table}.{name}"


def test_a_setting_without_a_declaration_is_found_out() -> None:
    class Undeclared(SettingsTable):
        value: int = 0

    class Inherited(dict(list_tables(SettingsFileContent))["branding"]):  # type: ignore[misc]
        value: int = 0

    for table in (Undeclared, Inherited):
        with pytest.raises(TypeError, match="value doesn't declare its guarded area"):
            find_guarded_area(table, "value")


def test_admins_other_than_the_one_who_acts_are_told_and_a_sole_admin_all_the_same() -> None:
    ann, bo = (1, "ann@newsroom.example"), (12, "bo@newsroom.example")
    assert choose_recipients([ann, bo], "staff 1") == [bo]
    assert choose_recipients([ann, bo], "") == [ann, bo]
    assert choose_recipients([ann], "staff 1") == [ann]
    assert choose_recipients([ann], "staff 12") == [ann]
    assert choose_recipients([], "staff 1") == []
