"""The alert channels, each in a module that defines `CHANNEL`. No other code names a channel."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from digest.app.alerts.channel import OFF_VALUES, AlertChannel
from digest.settings import Settings


@cache
def load_alert_channels() -> Mapping[str, AlertChannel]:
    """Return all channels, by name."""
    modules = [import_module(f"{__name__}.{module_info.name}") for module_info in iter_modules(__path__)]
    return {module.CHANNEL.name: module.CHANNEL for module in modules}


def list_enabled_channels(settings: Settings) -> list[AlertChannel]:
    """Return the channels that are turned on in the settings."""
    return [channel for channel in load_alert_channels().values() if channel.is_on(settings)]


def explain_unusable_channels(settings: Settings, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the reasons that new values of `[alerts]` can't be used, by setting."""
    problems = {
        channel.setting: channel.explain_refusal(settings, values[channel.setting])
        for channel in load_alert_channels().values()
        if values.get(channel.setting, "") not in OFF_VALUES
    }
    return {setting: problem for setting, problem in problems.items() if problem}
