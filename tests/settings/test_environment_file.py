"""digest.env next to digest.toml: its variables apply to every command, and changing one leaves the rest as it is."""

from pathlib import Path

import pytest

from digest.settings import SettingsError, load_settings
from digest.settings.environment_file import EnvironmentFileError, change_variables, parse_variables

WRITTEN = """\
# of ours
DIGEST_HOME=/srv/digest
  # a word

DIGEST_MAIL_URL='smtp://u:p@h:587?connections=4'
"""


def keep(folder: Path, text: str, mode: int = 0o600) -> Path:
    (folder / "digest.toml").write_text('[publication]\nname = "Ours"\n', "utf-8")
    (folder / "digest.env").write_text(text, "utf-8")
    (folder / "digest.env").chmod(mode)
    return folder / "digest.toml"


def test_its_variables_count_and_the_environment_wins(tmp_path: Path) -> None:
    file = keep(tmp_path, WRITTEN)
    alone = load_settings(file, {})
    assert (str(alone.home), alone.mail_url.get_secret_value()) == ("/srv/digest", "smtp://u:p@h:587?connections=4")
    beside = load_settings(file, {"DIGEST_HOME": "/elsewhere", "DIGEST_MAIL_URL": ""})
    assert (str(beside.home), beside.mail_url) == ("/elsewhere", alone.mail_url)


def test_a_file_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="chmod 600"):
        load_settings(keep(tmp_path, WRITTEN, 0o640), {})


def test_a_byte_order_mark_is_ignored_and_another_encoding_is_named(tmp_path: Path) -> None:
    file = keep(tmp_path, f"\ufeff{WRITTEN}")
    assert str(load_settings(file, {}).home) == "/srv/digest"
    file.with_name("digest.env").write_bytes(f"# Büro\n{WRITTEN}".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"digest\.env isn't UTF-8\. Save the file as UTF-8\."):
        load_settings(file, {})


def test_an_unknown_variable_in_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DIGEST_HOEM isn't a setting"):
        load_settings(keep(tmp_path, "DIGEST_HOEM=/srv\n"), {})


@pytest.mark.parametrize("line", ["DIGEST_HOME", "digest_home=/x", "DIGEST_HOME=/x s3cret", "A='s3cret", "=s3cret"])
def test_a_line_that_sets_nothing_is_named_by_its_number_without_its_value(line: str) -> None:
    with pytest.raises(EnvironmentFileError, match="Use the form NAME=value") as caught:
        parse_variables(f"# s3cret\n{line}\n")
    assert "s3cret" not in str(caught.value)


def test_changing_a_variable_leaves_every_other_line_as_it_is() -> None:
    changed = change_variables(WRITTEN, {"DIGEST_HOME": "/srv/a b", "DIGEST_BASE_URL": "https://x.example"})
    assert changed.splitlines() == [
        *("# of ours", "DIGEST_HOME='/srv/a b'", "  # a word", ""),
        *("DIGEST_MAIL_URL='smtp://u:p@h:587?connections=4'", "DIGEST_BASE_URL=https://x.example"),
    ]
    assert change_variables(WRITTEN, {"DIGEST_MAIL_URL": "smtp://u:p@h:587?connections=4"}) == WRITTEN
    assert "DIGEST_HOME" not in change_variables(WRITTEN, {"DIGEST_HOME": ""})


@pytest.mark.parametrize("value", ["plain", "a b", "a#b", 'with "quotes"', "$HOME", "a=b&c;d", "ünï", "\\"])
def test_what_is_written_is_read_again(value: str) -> None:
    assert parse_variables(change_variables("", {"NAME": value})) == {"NAME": value}
