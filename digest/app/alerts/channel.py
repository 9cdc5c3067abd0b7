"""Alert channels, as each one declares itself."""

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


def _tells_all(_session: Session, _settings: Settings, _alert: Alert, _event: AlertEvent) -> bool:
    return True


def _accept_any(_settings: Settings, _value: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ChannelTestAlert:
    """A test that admins send from the settings page. `hint` says what it does; `send` returns what went wrong, if anything."""

    hint: str
    send: Callable[[Installation, datetime], str]


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A way to tell alerts, named `title` on pages. The setting `alerts.<setting>` switches it on.

    `send` tells up to `batch_size` events in one message, and returns what went wrong, empty if nothing did. `tells`
    decides whether the channel tells an event at all. `explain_refusal` says why nothing could be sent under a new
    value of the setting.
    """

    name: str
    title: str
    setting: str
    send: Callable[[Installation, AlertEvents, datetime], str]
    batch_size: int = 1
    tells: Callable[[Session, Settings, Alert, AlertEvent], bool] = _tells_all
    test: ChannelTestAlert | None = None
    explain_refusal: Callable[[Settings, str], str] = _accept_any

    def is_on(self, settings: Settings) -> bool:
        """Return whether the settings switch the channel on."""
        return getattr(settings.file.alerts, self.setting) not in OFF_VALUES
