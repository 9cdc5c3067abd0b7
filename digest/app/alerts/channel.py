"""The classes with which each alert channel declares its name, settings, and functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.alert_models import Alert

AlertEvent = Literal["opened", "over"]
AlertEvents = Sequence[tuple[Alert, AlertEvent]]
OFF_VALUES = ("", "off")  # values that turn a channel off


def _handle_all(_session: Session, _settings: Settings, _alert: Alert, _event: AlertEvent) -> bool:
    return True


def _accept_any(_settings: Settings, _value: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ChannelTestAlert:
    """A test that admins can send from the settings page.

    `send` returns an error message, or an empty string if the test was accepted.
    """

    hint: str
    send: Callable[[Installation, datetime], str]


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A channel that alerts are sent over.

    `title` is its name on pages, and the setting `alerts.<setting>` turns it on.

    `send` sends up to `batch_size` events in one message and returns an error message, or an empty
    string if that succeeded. `handles` returns True if the channel handles an event.
    `explain_refusal` returns the reason that a new value of the setting can't be used, or an empty
    string if it can.
    """

    name: str
    title: str
    setting: str
    send: Callable[[Installation, AlertEvents, datetime], str]
    batch_size: int = 1
    handles: Callable[[Session, Settings, Alert, AlertEvent], bool] = _handle_all
    test: ChannelTestAlert | None = None
    explain_refusal: Callable[[Settings, str], str] = _accept_any

    def is_on(self, settings: Settings) -> bool:
        """Return True if the settings turn the channel on."""
        return getattr(settings.file.alerts, self.setting) not in OFF_VALUES
