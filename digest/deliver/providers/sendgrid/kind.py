"""SendGrid as a provider: its settings, and its descriptions for operators and subscribers."""

from collections.abc import Callable, Iterator
from datetime import datetime
from urllib.parse import urlsplit

from pydantic import Field

from digest.deliver.providers import kind
from digest.deliver.providers.base import ParallelProvider, Provider
from digest.deliver.providers.sendgrid import account, events, suppression_pull
from digest.deliver.providers.sendgrid.api import open_api, read_api_account
from digest.deliver.providers.sendgrid.provider import DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE, SendGridProvider
from digest.deliver.providers.setup_questions import ProviderQuestionnaire, SecretText, SetupStep
from digest.settings import Settings, is_loopback
from digest.settings.setting_lines import advise_variable_change
from digest.settings.values import parse_public_keys
from digest.store.engine import Database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.subscriber_language import SubscriberLanguage

RECIPIENT_NAME = "Twilio SendGrid"
# Concurrent requests. If the process dies, the status of messages being sent becomes unknown.
MAX_CONNECTIONS = 8


def _open(settings: Settings) -> Provider:
    defaults = {"batch": str(DEFAULT_BATCH_SIZE), "connections": "1"}
    options = kind.read_url_options(kind.split_mail_url(settings), defaults)
    batch_size = kind.parse_count(options["batch"], MAX_BATCH_SIZE, "batch")
    connections = kind.parse_count(options["connections"], MAX_CONNECTIONS, "connections")
    account = read_api_account(settings)
    providers = [SendGridProvider(*account, batch_size=batch_size) for _ in range(connections)]
    return providers[0] if connections == 1 else ParallelProvider(providers)


def _host(settings: Settings) -> str:
    return urlsplit(settings.provider_variable("sendgrid_host")).hostname or ""


def _describe_recipient(settings: Settings, language: SubscriberLanguage) -> str:
    return language.gettext("%(name)s (%(host)s), which delivers our emails", name=RECIPIENT_NAME, host=_host(settings))


def _describe_address_recipients(settings: Settings, language: SubscriberLanguage) -> tuple[str, ...]:
    return (
        language.gettext(
            "%(name)s (%(host)s), which delivers our emails as a processor. It receives your address with "
            "each email. Its open and click tracking is turned off. If you erase your data here, we ask it "
            "to erase yours too. For that purpose only, we keep your address encrypted until it answers, "
            "for 30 days at most.",
            name=RECIPIENT_NAME,
            host=_host(settings),
        ),
        language.gettext("Your email provider, which receives the email."),
    )


def _doctor_findings(settings: Settings) -> Iterator[kind.DoctorFinding]:
    yield kind.DoctorFinding("signing", "ok", "SendGrid signs the email")
    if settings.provider_variable("sendgrid_webhook_key").strip():
        yield kind.DoctorFinding("provider-events", "ok", "SendGrid's events are accepted if signed with its key")
    else:
        yield kind.DoctorFinding(
            "provider-events",
            "warning",
            "SendGrid's events are rejected because DIGEST_SENDGRID_WEBHOOK_KEY isn't set.",
            (
                "In SendGrid, turn on Signed Event Webhook under Settings → Mail Settings → Event Webhooks, and copy "
                "the verification key. "
            )
            + advise_variable_change(settings, "DIGEST_SENDGRID_WEBHOOK_KEY=…"),
        )


def _refusal_reason(
    settings: Settings,
    header: Callable[[str], str | None],
    body: bytes,
    now: datetime,
) -> str:
    keys = parse_public_keys(settings.provider_variable("sendgrid_webhook_key"))
    signature, timestamp = header(events.SIGNATURE_HEADER), header(events.TIMESTAMP_HEADER)
    return events.explain_webhook_refusal(keys, body, signature=signature, timestamp=timestamp, now=now)


def _pull_suppressions(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, settings: Settings, *, now: datetime
) -> kind.SuppressionPullResult:
    return suppression_pull.pull_suppressions(database, keys, unsubscribe_log, open_api(settings), now=now)


class SendGridQuestionnaire(ProviderQuestionnaire):
    """The questions about SendGrid."""

    words = "sendgrid"
    plain_url = "sendgrid:"
    sendgrid_api_key: SecretText = Field("", title="SendGrid's API key")

    def account_steps(self, sender_domain: str, base_url: str) -> tuple[SetupStep, ...]:
        """Return the steps to take on SendGrid's website."""
        title = (
            f"In SendGrid, authenticate the domain {sender_domain} (add the CNAME records that SendGrid shows to your DNS), "
            "and set up the signed Event Webhook (see docs/bounces.md). Put its key in "
            "digest.env as DIGEST_SENDGRID_WEBHOOK_KEY."
        )
        return (SetupStep(title, (f"{base_url}/hooks/sendgrid",)),)


REMEDIES = {
    "provider-events": "Set DIGEST_SENDGRID_WEBHOOK_KEY to the Event Webhook's verification key.",
    "suppression-lists": "Check the permissions of DIGEST_SENDGRID_API_KEY.",
    "received-one-click": "SendGrid garbles values over 77 bytes.",
    "received-links": "In SendGrid, tracking is under Settings → Tracking.",
}

KIND = kind.ProviderKind(
    name=SendGridProvider.name,
    title="SendGrid",
    url_examples=("sendgrid:",),
    open=_open,
    leaves_machine=lambda settings: not is_loopback(_host(settings)),
    describe_recipient=_describe_recipient,
    describe_address_recipients=_describe_address_recipients,
    doctor_findings=_doctor_findings,
    questionnaire=SendGridQuestionnaire,
    remedies=REMEDIES,
    resend_risk=". SendGrid gives each its own Message-ID, so mail servers can't recognize duplicates.",
    max_event_delay=events.MAX_AGE,
    webhook=kind.ProviderWebhook(_refusal_reason, events.parse_webhook_body),
    suppressions=kind.SuppressionLists(_pull_suppressions, suppression_pull.reset_list_positions),
    account=kind.ProviderAccount(account.check_account, account.is_authenticated, account.SPF_INCLUDE),
    erasures=kind.ProviderErasures(RECIPIENT_NAME, account.NEEDED_PERMISSION, account.find_address_eraser),
)
