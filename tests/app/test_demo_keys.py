"""The demo's keys are public, so nothing is sent beyond this machine with them."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from digest.app.doctor.examination import run_local_checks
from digest.app.sending.send_control import open_sending_provider
from digest.cli import digest as digest_command
from digest.installation.opened_installation import Installation, InstallationError
from digest.settings import SenderSettings, Settings, SettingsFileContent, UsageLimitSettings
from digest.store.engine import Database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.crypto.keys import DEMO_KEY_SEED, KEY_KINDS, KeyRing

SENDER = SenderSettings(
    address="digest@news.hls.test",
    reply_to="editors@hls.test",
    list_id="weekly.hls.test",
    postal_address="1 Main St, Washington, DC 20001",
)


def _installation(database: Database, home: Path, mail_url: str = "outbox:", *, proxies: int = 0) -> Installation:
    settings = Settings(
        home=home,
        mail_url=SecretStr(mail_url),
        base_url="https://news.hls.test",
        file=SettingsFileContent(sender=SENDER, limits=UsageLimitSettings(proxies=proxies)),
    )
    return Installation(settings.model_copy(update={"sendgrid_api_key": SecretStr("SG.key")}), database)


def _write_keys(home: Path, keys: KeyRing) -> None:
    file = Settings(home=home).key_file
    file.write_text(keys.to_json())
    file.chmod(0o600)


@pytest.fixture(params=["as they are", "rotated"])
def demo_home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a home folder with the demo's keys. Rotated, they go on opening and verifying what anybody makes with them."""
    keys = KeyRing.from_seed(DEMO_KEY_SEED)
    if request.param == "rotated":
        for kind in KEY_KINDS:
            keys = keys.with_new_key(kind)
    _write_keys(tmp_path, keys)
    return tmp_path


@pytest.mark.parametrize("url", ["smtp://mail.hls.test", "smtps://mail.hls.test", "sendgrid:"])
def test_nothing_is_sent_to_the_world(one_database: Database, demo_home: Path, url: str) -> None:
    with pytest.raises(InstallationError, match=r"keys\.json contains the demo's keys, .*'digest init'"):
        open_sending_provider(_installation(one_database, demo_home, url))


@pytest.mark.parametrize("url", ["outbox:", "smtp://127.0.0.1:2525?starttls=off"])
def test_mail_that_stays_on_the_machine_is_written(one_database: Database, demo_home: Path, url: str) -> None:
    with closing(open_sending_provider(_installation(one_database, demo_home, url))) as provider:
        assert provider.name


def test_own_keys_send_to_the_world(one_database: Database, tmp_path: Path) -> None:
    _write_keys(tmp_path, KeyRing.generate())
    with closing(open_sending_provider(_installation(one_database, tmp_path, "smtp://mail.hls.test"))) as provider:
        assert provider.name == "smtp"


def test_pages_are_served_on_loopback_alone(one_database: Database, demo_home: Path) -> None:
    app = create_app(_installation(one_database, demo_home))
    with open_page_server(app, "127.0.0.1", 0) as serving:
        assert serving.port
    with pytest.raises(InstallationError, match="the demo's"):
        open_page_server(app, "0.0.0.0", 0)
    behind_a_proxy = create_app(_installation(one_database, demo_home, proxies=1))
    with pytest.raises(InstallationError, match="the demo's"):
        open_page_server(behind_a_proxy, "127.0.0.1", 0)


def test_the_doctor_says_so(one_database: Database, demo_home: Path) -> None:
    errors = [f.sentence for f in run_local_checks(_installation(one_database, demo_home)) if f.level == "error"]
    assert any("the demo's" in message and "'digest init'" in message for message in errors)


def test_the_command_ends_with_the_sentence(
    one_database: Database, demo_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_database.close()
    monkeypatch.setenv("DIGEST_HOME", str(demo_home))
    monkeypatch.chdir(demo_home)
    refused = CliRunner().invoke(digest_command, ["serve", "--host", "0.0.0.0", "--port", "0"])
    assert refused.exit_code == 2
    assert "the demo's" in refused.output
    assert refused.output.count("\n") == 1
