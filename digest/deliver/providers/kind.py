"""What the product asks of a provider: each folder declares one `ProviderKind` named KIND in its module `kind`.

`open`, `leaves_machine`, the three descriptions, and the form of `digest setup` are required; webhook, suppression lists
and erasure are None where a provider has no such thing. Secrets and other variables of its own are declared as data, in
`variables.toml` beside it, where the settings find them. Importing a `kind` must be cheap: it happens at every start.
"""

from __future__ import annotations  # the types of its fields are imported by the providers alone

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
    from digest.deliver.providers.setup_form import ProviderSetupAnswers
    from digest.settings import Settings
    from digest.store.engine import Database
    from subscribers.consent.unsubscribe_log import UnsubscribeLog
    from subscribers.crypto.keys import KeyRing
    from subscribers.subscriber_language import SubscriberLanguage

FindingSeverity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that `digest doctor` looked at by the check of that name: how it is and, where it is not well, what to do.

    Without a `remedy` the check's own is given. Unless it `is_exposure`, an error keeps what depends on the check from working.
    One that `is_unexamined` says why the check couldn't look.
    """

    check: str
    level: FindingSeverity
    message: str
    remedy: str = ""
    is_exposure: bool = False
    is_unexamined: bool = False

    @property
    def sentence(self) -> str:
        """What is so and what to do, in one text."""
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class ProviderWebhook:
    """Where a provider posts its events, at `/hooks/<name>`.

    `refusal_reason` takes the settings, a function that gives a header field by its name, the raw body and the time, and returns why the post is
    not proved to be the provider's, for the log alone; empty where it is. `parse_body` takes a proved body and the time of its
    arrival, and returns its events, or None where it cannot be read; it raises nothing.
    """

    refusal_reason: Callable[[Settings, Callable[[str], str | None], bytes, datetime], str]
    parse_body: Callable[[bytes, datetime], list[DeliveryEvent] | None]


@dataclass(slots=True)
class SuppressionPullResult:
    """The result of reading a provider's suppression lists.

    `feedback_counts` counts people whose state changed; `troubles` name the lists that could not be read whole.
    """

    provider_title: str
    entries: int = 0
    matched_people: int = 0
    feedback_counts: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Describe the result in one line."""
        changes = ", ".join(f"{count:,} {word}" for word, count in sorted(self.feedback_counts.items()))
        counts = f"{self.entries:,} entries, {self.matched_people:,} for people on this list"
        return "; ".join([f"{self.provider_title}'s lists: {changes or 'nobody new'} ({counts})", *self.troubles])


class SuppressionPuller(Protocol):
    """Apply what is new on a provider's suppression lists to our people. Repeating it changes nothing."""

    def __call__(
        self, database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, settings: Settings, *, now: datetime
    ) -> SuppressionPullResult:
        """Read the lists.

        Raises:
            ProviderSettingsError: the settings do not open the provider's API.
            OSError: the departure log could not be written; what is not applied yet is read again.
        """
        ...


@dataclass(frozen=True, slots=True)
class SuppressionLists:
    """A provider's lists of addresses that it does not deliver to any more.

    `pull` saves what it couldn't read (`save_pull_troubles`); `reset_positions` makes the next pull read the lists from their
    beginning.
    """

    pull: SuppressionPuller
    reset_positions: Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class ErasureOutcome:
    """The provider's answer to one request for erasure.

    `reference` is its own id of the request, where it gives one. `trouble` is empty where it accepted; else it says why not and
    what to do, without the address, and `concerns_all` whether any other address would fare the same.
    """

    reference: str = ""
    trouble: str = ""
    concerns_all: bool = False


@dataclass(frozen=True, slots=True)
class ProviderErasures:
    """How a provider is asked to erase an address that it got from us.

    `recipient_prefix` begins what `describe_recipient` returns, whatever the settings. `open_eraser` returns what asks for
    one address, or None where the settings give no access; it raises `ProviderSettingsError` where they are wrong.
    """

    recipient_prefix: str
    needed_permission: str
    open_eraser: Callable[[Settings], Callable[[str], ErasureOutcome] | None]


@dataclass(frozen=True, slots=True)
class MailServerCheckResult:
    """What a mail server said of itself: its name in answer to EHLO, and until when its certificate is valid."""

    name: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that hands our mail to the world, with a return path of ours.

    `host` returns its name by the settings. `examine` connects, secures and signs in, and hands nothing over; it takes whom
    TLS trusts and how many seconds a step may take, and raises an `ApplicationError` where that fails.
    """

    host: Callable[[Settings], str]
    examine: Callable[[Settings, ssl.SSLContext, float], MailServerCheckResult]


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """The account with a provider who mails for us, with a return path of its own.

    `findings` asks the account how it is set, for `digest doctor --online`; it takes how many seconds a step may take.
    `is_authenticated` says whether the provider signs and bounces in the name of a domain; else that domain's SPF must hold
    `spf_include`.
    """

    findings: Callable[[Settings, float], Iterable[DoctorFinding]]
    is_authenticated: Callable[[Settings, str, float], bool]
    spf_include: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """One provider as the rest of the product sees it.

    `name` stands in delivery rows, stored payloads and the webhook's URL, and never changes; `title` is for people. The
    schemes of `url_examples` select the provider in DIGEST_MAIL_URL. `open` raises `ProviderSettingsError`.
    """

    name: str
    title: str
    url_examples: tuple[str, ...]
    open: Callable[[Settings], Provider]
    leaves_machine: Callable[[Settings], bool]
    describe_recipient: Callable[
        [Settings, SubscriberLanguage], str
    ]  # who got one message, for the list of disclosures
    describe_address_recipients: Callable[
        [Settings, SubscriberLanguage], tuple[str, ...]
    ]  # who gets addresses, for the privacy page
    doctor_findings: Callable[[Settings], Iterable[DoctorFinding]]
    setup_form: type[ProviderSetupAnswers]
    # What to do, by the check of `digest doctor` that wants it, such as "provider-account".
    remedies: Mapping[str, str] = field(default_factory=dict)
    # Ends the sentence "whoever got it already, gets it twice".
    resend_risk: str = ", unless their mail server recognizes the unchanged Message-ID, as many do."
    acceptance_is_arrival: bool = False  # nothing more will be reported of an accepted message that arrived
    max_event_delay: timedelta = timedelta(0)  # how late an event may still be reported
    webhook: ProviderWebhook | None = None
    suppressions: SuppressionLists | None = None
    erasures: ProviderErasures | None = None
    mail_server: MailServer | None = None
    account: ProviderAccount | None = None


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
    url_options = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    if unknown := sorted(url_options.keys() - defaults.keys()):
        allowed = f"only {', '.join(defaults)}" if defaults else "no options"
        raise ProviderSettingsError(
            f"DIGEST_MAIL_URL has unknown options: {', '.join(unknown)}.",
            remedy=f"Remove or correct these options. For {url.scheme}, use {allowed}.",
        )
    return {**defaults, **url_options}


def parse_count(text: str, maximum: int, name: str) -> int:
    """Read the option `name`, a number from 1 to `maximum`.

    Raises:
        ProviderSettingsError: it is no such number.
    """
    if not (text.isdigit() and 1 <= int(text) <= maximum):
        raise ProviderSettingsError(f"DIGEST_MAIL_URL: {name} must be a number from 1 to {maximum}")
    return int(text)
