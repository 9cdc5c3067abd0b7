"""Every key of digest.toml can be set by an environment variable, which takes precedence and is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from digest.settings import Settings, SettingsError, SourceSettings, file_edits, load_settings, reload_settings
from digest.settings.environment_overrides import find_model, list_override_variables
from digest.settings.loader import ENVIRONMENT_FIELDS, parse_settings_text
from digest.settings.model import SettingsFileContent
from digest.settings.setting_lines import advise_key_change
from digest.settings.table_values import fingerprint_values

VARIABLES = list_override_variables()
SPONSOR = {
    "DIGEST_SPONSOR__NAME": "Harbor Fuel",
    "DIGEST_SPONSOR__HEADLINE": "Fuel",
    "DIGEST_SPONSOR__TEXT": "Fuel for ports.",
    "DIGEST_SPONSOR__URL": "https://fuel.example/",
}
SECTIONS = '[{key = "news", title = "News", kind = "stories"}, {key = "more", title = "More", kind = "stories"}]'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "digest.toml"
    path.write_text('[publication]\nname = "In the file"\n[limits]\nproxies = 1\n', "utf-8")
    return path


def value_at(file: SettingsFileContent, variable: str) -> Any:
    value: Any = file
    for step in VARIABLES[variable][0]:
        value = getattr(value, step)
    return value


def write_toml(value: object) -> str:
    """Write a value as TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {write_toml(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_toml, value)) + "]"
    return json.dumps(value)


def list_leaves(table: Any = SettingsFileContent, above: tuple[str, ...] = ()) -> "list[tuple[str, ...]]":
    leaves: list[tuple[str, ...]] = []
    for name, field in table.model_fields.items():
        model = find_model(field.annotation)
        is_table = model is not None and not str(field.annotation).startswith("list")
        leaves += list_leaves(model, (*above, name)) if is_table else [(*above, name)]
    return leaves


def test_every_key_has_one_variable_which_no_other_setting_has() -> None:
    assert sorted(path for path, _ in VARIABLES.values()) == sorted(list_leaves())
    assert ("select", "weights", "coverage") in list_leaves()
    assert VARIABLES.keys().isdisjoint(ENVIRONMENT_FIELDS)


@pytest.mark.parametrize("variable", [name for name in VARIABLES if "SPONSOR" not in name and "__" in name])
def test_a_keys_default_can_be_given_as_text(tmp_path: Path, variable: str) -> None:
    default = value_at(SettingsFileContent(), variable)
    text = default if isinstance(default, str) else write_toml(default)
    environ = {variable: text, "DIGEST_ALERT_SECRET": "x", "DIGEST_INBOUND_PASSWORD": "x"}
    settings = load_settings(tmp_path / "digest.toml", environ, may_be_missing=True)
    assert settings.file == SettingsFileContent()
    assert settings.environment_overrides == ({variable: text} if text else {})


def test_the_environment_wins_over_digest_env_and_that_over_the_file(file: Path) -> None:
    environment_file = file.with_name("digest.env")
    environment_file.touch(mode=0o600)
    environment_file.write_text("DIGEST_LIMITS__PROXIES=2\nDIGEST_PUBLICATION__NAME='From digest.env'\n", "utf-8")
    settings = load_settings(file, {"DIGEST_LIMITS__PROXIES": "3"})
    assert (settings.file.limits.proxies, settings.file.publication.name) == (3, "From digest.env")
    assert load_settings(file, {}).file.limits.proxies == 2


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("DIGEST_PUBLICATION__NAME", "365", "365"),
        ("DIGEST_PUBLICATION__NAME", 'The "Weekly"', 'The "Weekly"'),
        ("DIGEST_LIMITS__WARM_UP", "[500, 1000]", [500, 1000]),
        ("DIGEST_LIMITS__DOMAINS_PER_HOUR", '{"gmail.com" = 6000}', {"gmail.com": 6000}),
        ("DIGEST_SCHEDULE__COLLECT", '["every 30m"]', ["every 30m"]),
        ("DIGEST_APPROVAL__APPROVERS", "2", 2),
        ("DIGEST_SELECT__WEIGHTS__COVERAGE", "2.5", 2.5),
    ],
)
def test_text_stays_text_and_everything_else_is_toml(file: Path, variable: str, text: str, value: object) -> None:
    assert value_at(load_settings(file, {variable: text}).file, variable) == value


def test_a_list_of_tables_is_set_as_a_whole(file: Path) -> None:
    settings = load_settings(file, {"DIGEST_SECTIONS": SECTIONS} | SPONSOR)
    assert [(section.key, section.title) for section in settings.file.sections] == [("news", "News"), ("more", "More")]
    assert settings.file.sponsor is not None
    assert settings.file.sponsor.name == "Harbor Fuel"


def test_what_the_environment_sets_stays_when_the_file_is_read_again(file: Path) -> None:
    settings = load_settings(file, {"DIGEST_LIMITS__PROXIES": "3"})
    file.write_text("[limits]\nproxies = 5\nfetch_redirects = 2\n", "utf-8")
    again = reload_settings(settings)
    assert (again.file.limits.proxies, again.file.limits.fetch_redirects) == (3, 2)
    assert parse_settings_text(again, "").file.limits.proxies == 3


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("DIGEST_LIMITS__PROXIES", "many", "DIGEST_LIMITS__PROXIES: must be a whole number"),
        ("DIGEST_LIMITS__WARM_UP", "[500, 0]", "DIGEST_LIMITS__WARM_UP: [2]: must be 1 or more"),
        (
            "DIGEST_SECTIONS",
            '[{key = "news", title = "News", kind = "stories", most = "x"}]',
            "DIGEST_SECTIONS: [1].most: must be a whole number",
        ),
        ("DIGEST_LIMITS__PROXYS", "1", "DIGEST_LIMITS__PROXYS isn't a setting; did you mean DIGEST_LIMITS__PROXIES?"),
    ],
)
def test_a_problem_names_the_variable_and_no_line_of_the_file(
    file: Path, variable: str, text: str, problem: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {variable: text})
    assert problem in str(refused.value)
    assert f"of {file}" not in str(refused.value)


def change(settings: Settings, table: str, **values: Any) -> Settings:
    fingerprint = fingerprint_values(getattr(settings.file, table))
    return file_edits.change_table(settings, table, values, fingerprint=fingerprint)


def test_other_keys_of_its_table_can_be_saved_and_it_cannot(file: Path) -> None:
    settings = load_settings(file, {"DIGEST_LIMITS__PROXIES": "3"})
    saved = change(settings, "limits", fetch_redirects=2)
    assert (saved.file.limits.proxies, saved.file.limits.fetch_redirects) == (3, 2)
    before = file.read_text("utf-8")
    assert "proxies = 1\n" in before
    with pytest.raises(SettingsError, match="DIGEST_LIMITS__PROXIES is set in the environment, which takes precedence"):
        change(saved, "limits", proxies=4)
    with pytest.raises(SettingsError, match="DIGEST_LIMITS__PROXIES is set"):
        file_edits.edit_settings_text(saved, before, {"limits": {"proxies": 4}})
    assert file.read_text("utf-8") == before


def test_sources_of_the_environment_are_not_added_to_in_the_file(file: Path) -> None:
    source = SourceSettings(url="https://one.example.org/feed", name="One", publisher="One")
    settings = load_settings(
        file, {"DIGEST_SOURCES": '[{url = "https://two.example.org/feed", name = "Two", publisher = "Two"}]'}
    )
    with pytest.raises(SettingsError, match="DIGEST_SOURCES is set"):
        file_edits.append_sources(settings, [source])


def test_advice_names_the_variable_in_place_of_a_line(file: Path) -> None:
    settings = load_settings(file, {"DIGEST_LIMITS__PROXIES": "3"})
    advice = advise_key_change(settings, "limits", "proxies = 1")
    assert advice == "Change DIGEST_LIMITS__PROXIES in the environment, and restart"
    assert "line 2" in advise_key_change(settings, "publication", 'name = "x"')
