"""An unreadable settings file is rejected with one sentence, however long or deep it is."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from digest.folder_owner import find_user_name
from digest.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[publication]\n" + ".".join(["a"] * 100_000) + " = 1\n",
            "has 200,003 characters, more than the limit of 10,000",
        ),
        ("deep = " + "[" * 9_000, "its brackets are nested too deeply"),
        ("[publication\n", "isn't valid TOML, at line 1, column 13: Expected ']'"),
        ("[sender]\nname =", "at end of document: Invalid value. Correct the file at this position."),
        ('[sender]\nlist_id = "a"\nlist_id = "b"\n', "list_id twice, on lines 2 and 3. Remove one of the two lines."),
        (
            '[sender]\n[[sources]]\nurl = "a"\n[sender]\n',
            "[sender] twice, on lines 1 and 4. Merge the two tables into one.",
        ),
        ('[[sources]]\nurl = "a"\n[[sources]]\nurl = "b"\nurl = "c"\n', "url twice, on lines 4 and 5. Remove one"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert f"{file}" in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_in_another_encoding_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "digest.toml"
    file.write_bytes('[sender]\nname = "Büro"\n'.encode("latin-1"))
    with pytest.raises(
        SettingsError, match=r"toml isn't valid TOML because line 2 isn't UTF-8\. Save the file as UTF-8\."
    ):
        load_settings(file, {})
    file.write_bytes('[sender]\nname = "Büro"\n'.encode("utf-8-sig"))
    with pytest.raises(SettingsError, match=r"Save the file as UTF-8 without a byte order mark \(BOM\)\."):
        load_settings(file, {})


def test_a_file_that_the_service_cannot_read_is_named_with_what_to_do() -> None:
    is_root = os.geteuid() == 0
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "digest.toml")
        file.touch(mode=0o000)
        os.seteuid(54321 if is_root else os.geteuid())
        try:
            owned = f"Run as root: chown {find_user_name(os.geteuid())} {file} && chmod 644 {file}"
            with pytest.raises(SettingsError, match=f"Can't read {file}: Permission denied. {owned}"):
                load_settings(file, {})
        finally:
            os.seteuid(0 if is_root else os.geteuid())
        file.chmod(0o644)
        assert load_settings(file, {}).origin == file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[sender]\n# who\nreplyto = "a@b.test"\n',
            "sender.replyto: not a setting; did you mean reply_to? (line 3 of {})",
        ),
        ('[sendr]\nname = "A"\n', "sendr: not a setting; did you mean sender? (line 1 of {})"),
        ('[publication]\npostal_address = "1 Pier"\n', "not a setting; it belongs under [sender] (line 2 of {})"),
        ('[sender]\nzzz = "1"\n', "sender.zzz: not a setting (line 2 of {})"),
        (
            '[[sources]]\nurl = "https://a.test/"\n\n[[sources]]\nurl = "https://b.test/"\n\nname = "B"\n\npublishr = "B"\n',
            "sources[2].publishr: not a setting; did you mean publisher? (line 9 of {})",
        ),
        ('[publication]\ntimezone = "Mars"\n', "such as America/New_York (line 2 of {})"),
        ('sender = {replyto = "a@b.test"}\n', "sender.replyto: not a setting; did you mean reply_to?"),
    ],
)
def test_a_key_that_is_none_is_named_with_its_line_and_the_one_that_was_meant(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert problem.format(file) in str(caught.value)


def test_a_variable_that_is_none_is_named_with_its_place_and_the_one_that_was_meant(tmp_path: Path) -> None:
    file, environment_file = tmp_path / "digest.toml", tmp_path / "digest.env"
    file.touch()
    environment_file.touch(0o600)
    environment_file.write_text("# places\nDIGEST_MAILURL=outbox:\n")
    of_tests = dict.fromkeys(("DIGEST_TEST_REQUIRE", "DIGEST_TEST_DATABASE", "DIGEST_TEST_SEED"), "all")
    wrong = {"DIGEST_BASEURL": "https://a.test", "DIGEST_DATABSE": "x", "DIGEST_SPEED": "9"}
    with pytest.raises(SettingsError) as caught:
        load_settings(file, wrong | of_tests)
    said = str(caught.value)
    assert f"DIGEST_MAILURL isn't a setting; did you mean DIGEST_MAIL_URL? (line 2 of {environment_file})" in said
    assert "DIGEST_BASEURL isn't a setting; did you mean DIGEST_BASE_URL? (in this process's environment)" in said
    assert "DIGEST_SPEED isn't a setting (in this process's" in said
    assert "DIGEST_TEST" not in said


def test_every_secret_can_come_from_the_service_managers_credential_store(tmp_path: Path) -> None:
    """systemd decrypts credentials for one service alone (systemd.exec(5)); the environment still wins."""
    secrets = {
        "digest.database-url": "sqlite:////srv/digest.db",
        "digest.mail-url": "smtp://user:secret@mail.example:587",
        "digest.key-passphrase": "key passphrase",
        "digest.backup-passphrase": "backup passphrase",
        "digest.metrics-token": "a token of sixteen characters or more",
        "digest.alert-secret": "alert secret",
        "digest.sendgrid-api-key": "SG.secret",
        "digest.inbound-password": "inbound password",
    }
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    read = load_settings(None, credentials)
    for name, secret in secrets.items():
        value = getattr(read, name.removeprefix("digest.").replace("-", "_"))
        assert (value if isinstance(value, str) else value.get_secret_value()) == secret, name
    shown = repr(read)
    assert not [secret for name, secret in secrets.items() if secret in shown and name != "digest.database-url"]
    won = load_settings(None, credentials | {"DIGEST_MAIL_URL": "outbox:"})
    assert won.mail_url.get_secret_value() == "outbox:"
