"""Each alert channel is declared once: its setting, its field on the settings page, and how it sends."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from digest.app.alerts.channel import OFF_VALUES
from digest.app.alerts.channels import list_enabled_channels, load_alert_channels
from digest.settings import AlertSettings, Settings, SettingsFileContent
from digest.store.alert_models import Alert
from digest.store.engine import Database
from digest.web.admin.settings.setting_fields import list_fields
from tests.app.doctor.planted_operations import FaultyInstallation
from tests.moments import AFTER_RELEASE as NOW

CHANNELS = sorted(load_alert_channels())
ALERT = Alert(id=1, kind="disk-space", subject="", sentence="Little room.", seen_at=NOW, opened_at=NOW)


def take_posts(httpserver: HTTPServer) -> str:
    httpserver.expect_request("/hook", method="POST").respond_with_data(status=204)
    return httpserver.url_for("/hook")


# The value of each channel's setting that makes it tell alerts to something on this machine.
HARNESSES: dict[str, Callable[[HTTPServer], str]] = {"email": lambda _: "admins", "webhook": take_posts}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_has_its_setting_and_its_field(name: str) -> None:
    channel = load_alert_channels()[name]
    assert channel.setting in AlertSettings.model_fields, "digest/settings/operations.py"
    assert channel.setting in list_fields(AlertSettings()), "a title in digest/settings/operations.py"
    assert name in HARNESSES, "tests/app/alerts/test_channels.py"


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_sends_alerts_and_its_test(
    name: str, one_database: Database, tmp_path: Path, httpserver: HTTPServer
) -> None:
    world = FaultyInstallation.make_sound(tmp_path, one_database)
    world.set_variables(DIGEST_ALERT_SECRET="a secret of the tests")
    channel = load_alert_channels()[name]
    world.replace_setting("[limits]\n", '[limits]\nallow_networks = ["127.0.0.1/32"]\n')
    settings_file = tmp_path / "digest.toml"
    value = HARNESSES[name](httpserver)
    settings_file.write_text(f'{settings_file.read_text()}\n[alerts]\n{channel.setting} = "{value}"\n')
    install = world.open()
    assert channel in list_enabled_channels(install.settings)
    assert channel.explain_refusal(install.settings, value) == ""
    for event in ("opened", "over"):
        assert channel.send(install, [(ALERT, event)], NOW) == ""
    if channel.test:
        assert channel.test.send(install, NOW) == ""


def test_a_channel_is_off_until_its_setting_says_where_to() -> None:
    channels = load_alert_channels().values()
    off = {
        channel.setting: next(v for v in reversed(OFF_VALUES) if _is_valid(channel.setting, v)) for channel in channels
    }
    assert list_enabled_channels(Settings(file=SettingsFileContent(alerts=AlertSettings(**off)))) == []  # type: ignore[arg-type]


def _is_valid(setting: str, value: str) -> bool:
    try:
        AlertSettings(**{setting: value})  # type: ignore[arg-type]
    except ValueError:
        return False
    return True
