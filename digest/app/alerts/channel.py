"""The declaration of an alert channel."""

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
OFF_VALUES = ("", "off")  # values of a channel's setting that switch it off


def _handle_all(_session: Session, _settings: Settings, _alert: Alert, _event: AlertEvent) -> bool:
    return True


def _accept_any(_settings: Settings, _value: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ChannelTestAlert:
    """A test that admins send from the settings page. `send` returns an error message, empty if it worked."""

    hint: str
    send: Callable[[Installation, datetime], str]


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A channel for alerts, called `title` on pages. The setting `alerts.<setting>` switches it on.

    `send` sends up to `batch_size` events in one message and returns an error message, empty if it worked. `handles`
    returns whether the channel handles an event. `explain_refusal` returns why nothing could be sent under a new value
    of the setting, empty if it's usable.
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
        """Return whether the channel is switched on in the settings."""
        return getattr(settings.file.alerts, self.setting) not in OFF_VALUES
