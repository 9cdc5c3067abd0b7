"""A protected key file: a copy is useless without the passphrase, and everything else keeps working."""

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import SecretStr

from digest.app.doctor.examination import run_local_checks
from digest.app.upkeep.keys import decrypt_key_file, encrypt_key_file, restore_keys, rotate_key
from digest.cli import digest as digest_command
from digest.installation.audited_actions import ActionEntryPoint, Actor, NotPermittedError, Role, make_terminal_actor
from digest.installation.opened_installation import Installation, InstallationError
from digest.settings import Settings, load_settings
from digest.store.engine import Database
from subscribers.crypto.keys import KeyFileError, KeyRing
from subscribers.crypto.passphrase import encrypt_text
from tests.moments import THURSDAY_NOON as NOW

EVE = make_terminal_actor("eve")
PASSPHRASE = "correct horse battery staple"


def _installation(database: Database, home: Path, passphrase: str | None = PASSPHRASE) -> Installation:
    secret = None if passphrase is None else SecretStr(passphrase)
    return Installation(Settings(home=home, key_passphrase=secret), database)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """Make a key file in clear."""
    return KeyRing.create(Settings(home=tmp_path).key_file)


def _ignore_progress(*_: int) -> None:
    pass


def test_a_protected_file_holds_no_secret_and_opens_with_the_passphrase_alone(
    one_database: Database, tmp_path: Path, keys: KeyRing
) -> None:
    file = Settings(home=tmp_path).key_file
    encrypt_key_file(_installation(one_database, tmp_path), EVE, now=NOW)
    text = file.read_text("utf-8")
    assert not [key for key in keys.all if base64.b64encode(key.secret).decode() in text]
    assert file.stat().st_mode & 0o777 == 0o600
    assert _installation(one_database, tmp_path).keys.all == keys.all
    for passphrase, says in ((None, "protected by a passphrase, but no"), ("correct horse", "can't be opened with")):
        with pytest.raises(KeyFileError, match=rf"keys\.json .*{says}.*DIGEST_KEY_PASSPHRASE") as caught:
            _ = _installation(one_database, tmp_path, passphrase).keys
        assert "\n" not in str(caught.value)
        assert PASSPHRASE not in str(caught.value)


def test_a_protected_text_names_what_opens_it(shipped_hashing: None) -> None:
    protected = json.loads(encrypt_text("a secret", PASSPHRASE))
    assert protected["protected"] == "argon2id-t3-m65536-p4 aes-256-gcm"
    salt, nonce, ciphertext = (base64.b64decode(protected[name]) for name in ("salt", "nonce", "ciphertext"))
    key = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536).derive(PASSPHRASE.encode())
    assert AESGCM(key).decrypt(nonce, ciphertext, protected["protected"].encode()) == b"a secret"


@pytest.mark.usefixtures("keys")
def test_a_changed_file_does_not_open(one_database: Database, tmp_path: Path) -> None:
    file = Settings(home=tmp_path).key_file
    encrypt_key_file(_installation(one_database, tmp_path), EVE, now=NOW)
    whole = json.loads(file.read_text("utf-8"))
    for name in ("salt", "nonce", "ciphertext"):
        changed = bytearray(base64.b64decode(whole[name]))
        changed[-1] ^= 1
        file.write_text(json.dumps(whole | {name: base64.b64encode(changed).decode()}))
        with pytest.raises(KeyFileError, match=r"can't be opened with this passphrase\. The passphrase is wrong, or"):
            _ = _installation(one_database, tmp_path).keys
    file.write_text(json.dumps(whole | {"protected": "argon3"}))
    with pytest.raises(KeyFileError, match="newer version"):
        _ = _installation(one_database, tmp_path).keys


def test_a_running_process_follows_protecting_rotating_and_unprotecting(
    one_database: Database, tmp_path: Path, keys: KeyRing
) -> None:
    running, file = _installation(one_database, tmp_path), Settings(home=tmp_path).key_file
    assert running.keys.all == keys.all
    encrypt_key_file(running, EVE, now=NOW)
    for number, protected in ((2, True), (3, False)):
        acting = _installation(one_database, tmp_path)
        if not protected:
            decrypt_key_file(acting, EVE, now=NOW)
        _, recovery_copy = rotate_key(acting, EVE, "token", force_new_key=False, now=NOW, progress=_ignore_progress)
        assert ("ciphertext" in file.read_text("utf-8")) is protected
        assert KeyRing.parse("the copy", recovery_copy).current("token").number == number, (
            "no longer protected by a passphrase"
        )
        assert [key.number for key in running.keys.of_kind("token")][-1] == number
    assert _installation(one_database, tmp_path, None).keys.current("token").number == 3


def test_a_recovery_copy_opens_what_a_forgotten_passphrase_closed(
    one_database: Database, tmp_path: Path, keys: KeyRing
) -> None:
    file = Settings(home=tmp_path).key_file
    encrypt_key_file(_installation(one_database, tmp_path), EVE, now=NOW)
    protected_text = file.read_text("utf-8")
    aside = restore_keys(_installation(one_database, tmp_path, None), EVE, keys.to_json(), replace=True, now=NOW).aside
    assert aside is not None
    assert aside.read_text("utf-8") == protected_text
    assert _installation(one_database, tmp_path, None).keys.all == keys.all
    file.unlink()
    restore_keys(_installation(one_database, tmp_path, "another one"), EVE, keys.to_json(), replace=False, now=NOW)
    assert _installation(one_database, tmp_path, "another one").keys.under_passphrase


def test_protecting_takes_an_admin_and_a_passphrase(one_database: Database, tmp_path: Path, keys: KeyRing) -> None:
    file = Settings(home=tmp_path).key_file
    editor = Actor("staff 3", Role.EDITOR, ActionEntryPoint.TERMINAL)
    for act in (encrypt_key_file, decrypt_key_file):
        with pytest.raises(NotPermittedError):
            act(_installation(one_database, tmp_path), editor, now=NOW)
    with pytest.raises(InstallationError, match="No passphrase is set"):
        encrypt_key_file(_installation(one_database, tmp_path, None), EVE, now=NOW)
    assert file.read_text("utf-8") == keys.to_json()


@pytest.mark.usefixtures("keys")
def test_the_doctor_names_a_passphrase_that_protects_nothing(one_database: Database, tmp_path: Path) -> None:
    def advice() -> list[str]:
        findings = run_local_checks(_installation(one_database, tmp_path))
        return [f.sentence for f in findings if f.level == "warning" and "digest keys protect" in f.sentence]

    assert len(advice()) == 1
    encrypt_key_file(_installation(one_database, tmp_path), EVE, now=NOW)
    assert advice() == []


def test_the_doctor_names_a_former_file_that_is_in_clear(one_database: Database, tmp_path: Path, keys: KeyRing) -> None:
    restoration = restore_keys(_installation(one_database, tmp_path), EVE, keys.to_json(), replace=True, now=NOW)
    findings = run_local_checks(_installation(one_database, tmp_path))
    assert [f.sentence for f in findings if "aren't protected by a passphrase" in f.message] == [
        f"{restoration.aside} contains keys that aren't protected by a passphrase. Run: rm {restoration.aside}"
    ]


def test_a_systemd_credential_is_the_passphrase_unless_the_environment_names_one(tmp_path: Path) -> None:
    (tmp_path / "digest.key-passphrase").write_text("from systemd\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_settings(None, credentials).key_passphrase_text == "from systemd"
    both = load_settings(None, credentials | {"DIGEST_KEY_PASSPHRASE": "from here"})
    assert both.key_passphrase_text == "from here"
    assert load_settings(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "nowhere")}).key_passphrase_text is None
    assert "from" not in repr(both)


def test_commands_from_init_to_a_restored_backup_work_with_it(new_home: Path, tmp_path: Path) -> None:

    def run(*arguments: str, passphrase: str = PASSPHRASE) -> Result:
        env = {"DIGEST_KEY_PASSPHRASE": passphrase, "DIGEST_BACKUP_PASSPHRASE": PASSPHRASE}
        return CliRunner().invoke(digest_command, arguments, env=env, input="y\n")

    made = run("init")
    assert made.exit_code == 0, made.output
    assert '"kind": "vault"' in made.output, "the recovery copy is printed in clear"
    assert "ciphertext" in (tmp_path / "home" / "keys.json").read_text("utf-8")
    for command in ("keys rotate vault", "keys list", "backup b.zip", "keys protect"):
        done = run(*command.split())
        assert done.exit_code == 0, done.output
    restored = run("restore", "b.zip", "--replace")
    assert restored.exit_code == 0, restored.output
    examined = run("doctor", passphrase="")
    assert examined.exit_code == 1, examined.output
    assert "error   key-file: " in examined.output
    assert "DIGEST_KEY_PASSPHRASE" in examined.output
    for command in ("keys list", "serve --port 0", "restore b.zip --replace"):
        refused = run(*command.split(), passphrase="")
        assert refused.exit_code == 2, refused.output
        assert refused.output.splitlines()[-1].startswith("Error: ")
        assert "DIGEST_KEY_PASSPHRASE" in refused.output.splitlines()[-1]
    assert run("keys", "unprotect").exit_code == 0
    assert run("keys", "list", passphrase="").exit_code == 0
