"""Read DIGEST_MAIL_URL: its scheme names the provider, its options are the provider's own."""

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, urlsplit

from digest.settings import Settings
from subscribers.errors import ApplicationError


class ProviderSettingsError(ApplicationError):
    """No provider can be opened; the message lists every setting that is wrong or missing."""


def split_mail_url(settings: Settings) -> SplitResult:
    """Split the URL; one that cannot be split comes back empty."""
    try:
        url = urlsplit(settings.mail_url.get_secret_value())
        _ = url.port  # reading it is what checks it
    except ValueError:
        return SplitResult("", "", "", "", "")
    return url


def read_url_options(url: SplitResult, defaults: Mapping[str, str]) -> dict[str, str]:
    """Read the options after `?`, with `defaults` for those that are missing.

    Raises:
        ProviderSettingsError: an option is not among the defaults.
    """
    given = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if unknown := sorted(given.keys() - defaults.keys()):
        allowed = f"there is {', '.join(defaults)}" if defaults else "there are none"
        raise ProviderSettingsError(
            f"DIGEST_MAIL_URL: no such option: {', '.join(unknown)}; for {url.scheme}: {allowed}"
        )
    return {**defaults, **given}


def parse_count(text: str, maximum: int, name: str) -> int:
    """Read the option `name`, a number from 1 to `maximum`.

    Raises:
        ProviderSettingsError: it is no such number.
    """
    if not (text.isdigit() and 1 <= int(text) <= maximum):
        raise ProviderSettingsError(f"DIGEST_MAIL_URL: {name} is a number from 1 to {maximum}")
    return int(text)
