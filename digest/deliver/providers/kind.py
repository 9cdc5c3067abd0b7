"""The declaration of a provider. Each folder has a `ProviderKind` named KIND in its module `kind`.

`open`, `leaves_machine`, the three descriptions, and the form for `digest setup` are required. The
webhook, suppression lists, and erasures are None if the provider doesn't have them. A provider's
secrets and other variables are declared in its `variables.toml`, where the settings find them.
Importing a `kind` must be cheap, because it happens at every start.
"""

from __future__ import annotations  # only the providers import the types of its fields

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import SplitResult, parse_qs, urlsplit

from subscribers.errors import ApplicationError

if TYPE_CHECKING:
    import ssl

    from sqlalchemy.orm import Session

    from digest.deliver.events.delivery_event import DeliveryEvent
    from digest.deliver.providers.base import Provider
    from digest.deliver.providers.setup_questions import ProviderQuestionnaire
    from digest.settings import Settings
    from digest.store.engine import Database
    from subscribers.consent.unsubscribe_log import UnsubscribeLog
    from subscribers.crypto.keys import KeyRing
    from subscribers.subscriber_language import SubscriberLanguage

FindingSeverity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """A result of a check by `digest doctor`: the level, and a remedy if there's a problem.

    Without a `remedy`, the check's default is shown. Unless `is_exposure` is true, an error
    prevents what depends on the check from working. `is_unexamined` marks a finding that says why
    the check couldn't run. `page_remedy` is the remedy for the page that has the setting, where
    `remedy` names its line in the settings file.
    """

    check: str
    level: FindingSeverity
    message: str
    remedy: str = ""
    is_exposure: bool = False
    is_unexamined: bool = False
    page_remedy: str = ""

    @property
    def sentence(self) -> str:
        """The message followed by the remedy."""
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class ProviderWebhook:
    """The webhook, at `/hooks/<name>`, that a provider posts events to.

    `refusal_reason` takes the settings, a function that returns a header's value by name, the raw
    body, and the time. It returns why a request isn't authentic, for the log only, or "".
    `parse_body` takes an authentic body and the time when it arrived, and returns its events, or
    None if it can't be parsed. It doesn't raise errors.
    """

    refusal_reason: Callable[[Settings, Callable[[str], str | None], bytes, datetime], str]
    parse_body: Callable[[bytes, datetime], list[DeliveryEvent] | None]


@dataclass(slots=True)
class SuppressionPullResult:
    """The result of reading a provider's suppression lists.

    `feedback_counts` counts the people whose state changed. `troubles` describe the lists that
    couldn't be read completely.
    """

    provider_title: str
    entries: int = 0
    matched_people: int = 0
    feedback_counts: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return a one-line description of the result."""
        changes = ", ".join(f"{count:,} {word}" for word, count in sorted(self.feedback_counts.items()))
        counts = f"{self.entries:,} entries, {self.matched_people:,} for people on this list"
        return "; ".join([f"{self.provider_title}'s lists: {changes or 'no changes'} ({counts})", *self.troubles])


class SuppressionPuller(Protocol):
    """An idempotent function that applies new entries of a provider's suppression lists to subscribers."""

    def __call__(
        self, database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, settings: Settings, *, now: datetime
    ) -> SuppressionPullResult:
        """Read the lists, and apply their new entries.

        Raises:
            ProviderSettingsError: the settings don't give access to the provider's API.
            OSError: the unsubscribe log couldn't be written. Unapplied entries will be read
                again.
        """
        ...


@dataclass(frozen=True, slots=True)
class SuppressionLists:
    """A provider's lists of addresses that it no longer delivers to.

    `pull` records which lists it couldn't read (`save_pull_troubles`). `reset_positions` makes the
    next pull read the lists from the beginning.
    """

    pull: SuppressionPuller
    reset_positions: Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class ErasureOutcome:
    """The provider's response to an erasure request.

    `reference` is its ID for the request, if any. `trouble` is empty if the request was accepted.
    Otherwise, it says why not and what to do, without the address. `concerns_all` is true if
    requests for other addresses would fail, too.
    """

    reference: str = ""
    trouble: str = ""
    concerns_all: bool = False


@dataclass(frozen=True, slots=True)
class ProviderErasures:
    """A way to ask a provider to erase an address that it got from us.

    `recipient_prefix` starts every text that `describe_recipient` returns. `open_eraser` returns a
    function that requests the erasure of an address, or None if the settings don't give access. It
    raises `ProviderSettingsError` if they're wrong.
    """

    recipient_prefix: str
    needed_permission: str
    open_eraser: Callable[[Settings], Callable[[str], ErasureOutcome] | None]


@dataclass(frozen=True, slots=True)
class MailServerCheckResult:
    """A mail server's name, from its response to EHLO, and its certificate's expiration date."""

    name: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that our email is submitted to, using our own return path.

    `host` returns its name from the settings. `examine` connects and signs in without handing
    anything over. It takes the TLS context and a timeout in seconds for each step, and raises an
    `ApplicationError` if it fails.
    """

    host: Callable[[Settings], str]
    examine: Callable[[Settings, ssl.SSLContext, float], MailServerCheckResult]


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """The account at a provider that sends our email using the provider's return path.

    `findings` checks the account's settings for `digest doctor --online`, given a timeout in
    seconds for each step. `is_authenticated` returns whether the provider signs and bounces for a
    domain. If it doesn't, the domain's SPF record must contain `spf_include`.
    """

    findings: Callable[[Settings, float], Iterable[DoctorFinding]]
    is_authenticated: Callable[[Settings, str, float], bool]
    spf_include: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """A provider as the rest of the product sees it.

    `name` is stored in deliveries and payloads and is part of the webhook's URL, so it must never
    change. `title` is shown to people. The schemes of `url_examples` select the provider in
    DIGEST_MAIL_URL. `open` may raise `ProviderSettingsError`.
    """

    name: str
    title: str
    url_examples: tuple[str, ...]
    open: Callable[[Settings], Provider]
    leaves_machine: Callable[[Settings], bool]
    describe_recipient: Callable[
        [Settings, SubscriberLanguage], str
    ]  # the recipient of a message, for the list of disclosures
    describe_address_recipients: Callable[
        [Settings, SubscriberLanguage], tuple[str, ...]
    ]  # the recipients of addresses, for the privacy page
    doctor_findings: Callable[[Settings], Iterable[DoctorFinding]]
    questionnaire: type[ProviderQuestionnaire]
    # Remedies by the doctor's check, such as "provider-account".
    remedies: Mapping[str, str] = field(default_factory=dict)
    # The end of a sentence that says who would get a message twice.
    resend_risk: str = ", unless their mail server recognizes the unchanged Message-ID, as many do."
    # True if nothing more is reported about an accepted message that arrived.
    acceptance_is_arrival: bool = False
    max_event_delay: timedelta = timedelta(0)  # maximum delay with which events are reported
    webhook: ProviderWebhook | None = None
    suppressions: SuppressionLists | None = None
    erasures: ProviderErasures | None = None
    mail_server: MailServer | None = None
    account: ProviderAccount | None = None


class ProviderSettingsError(ApplicationError):
    """Raised when no provider can be opened. The message names the settings that are wrong or missing."""


def split_mail_url(settings: Settings) -> SplitResult:
    """Return the parts of DIGEST_MAIL_URL. All of them are empty if it can't be parsed."""
    try:
        url = urlsplit(settings.mail_url.get_secret_value())
        _ = url.port  # raises an error if the port is invalid
    except ValueError:
        return SplitResult("", "", "", "", "")
    return url


def read_url_options(url: SplitResult, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the options after the URL's question mark, using `defaults` for missing ones.

    Raises:
        ProviderSettingsError: an option isn't among the defaults.
    """
    url_options = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if unknown := sorted(url_options.keys() - defaults.keys()):
        allowed = f"only {', '.join(defaults)}" if defaults else "no options"
        raise ProviderSettingsError(
            f"DIGEST_MAIL_URL has unknown options: {', '.join(unknown)}.",
            remedy=f"Remove or correct these options. For {url.scheme}, use {allowed}.",
        )
    return {**defaults, **url_options}


def parse_count(text: str, maximum: int, name: str) -> int:
    """Parse the value of the option `name`, which must be a number from 1 to `maximum`.

    Raises:
        ProviderSettingsError: the value isn't a number in this range.
    """
    if not (text.isdigit() and 1 <= int(text) <= maximum):
        raise ProviderSettingsError(f"DIGEST_MAIL_URL: {name} must be a number from 1 to {maximum}")
    return int(text)
