"""DKIM signing for providers whose messages we sign ourselves."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer
from digest.deliver.providers.base import OutgoingMessage
from digest.deliver.providers.kind import DoctorFinding, ProviderSettingsError
from digest.settings import Settings
from digest.settings.setting_lines import advise_key_change, advise_variable_change

_CHECK_RECORD = "to check the DNS record, run 'digest doctor --online'"
_CHECK_MESSAGE = "to check a received email, run 'digest doctor MESSAGE --online'"
# With RSA-2048, two threads sign about 8,000 messages per second, which is more than one thread sends.
SIGNING_THREADS = 2


class SigningThreads:
    """Threads that sign messages while others are sent. OpenSSL releases the GIL.

    Without a signer, messages aren't signed.
    """

    def __init__(self, signer: DkimSigner | None) -> None:
        self._signer = signer
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="sign")
        self._begun: dict[int, Future[bytes]] = {}  # by the id() of each message, until it's forgotten

    def begin(self, messages: Sequence[OutgoingMessage]) -> None:
        """Start signing messages that will be sent soon."""
        for message in messages if self._signer else ():
            self._begun[id(message)] = self._threads.submit(message.to_bytes, self._signer)

    def finish(self, message: OutgoingMessage) -> bytes:
        """Return the complete message. If `begin` wasn't called for it, sign it now."""
        begun = self._begun.get(id(message))
        return begun.result() if begun else message.to_bytes(self._signer)

    def forget(self, message: OutgoingMessage) -> None:
        """Discard the signature of a message that was sent or won't be sent."""
        if begun := self._begun.pop(id(message), None):
            begun.cancel()

    def forget_all(self) -> None:
        """Discard all signatures."""
        self._begun.clear()


def load_provider_signer(settings: Settings) -> DkimSigner | None:
    """Load the signer from the settings. Return None if messages aren't signed.

    Raises:
        ProviderSettingsError: the key can't be used.
    """
    try:
        return load_signer(settings)
    except DkimError as exc:
        raise ProviderSettingsError(exc.message, remedy=exc.remedy) from exc


def check_signing(settings: Settings, *, unsigned: Literal["ok", "warning"]) -> Iterator[DoctorFinding]:
    """Yield findings about DKIM signing, for `digest doctor`.

    `unsigned` is the level of the finding if email isn't signed.
    """
    try:
        signer = load_signer(settings)
    except DkimError as exc:
        yield DoctorFinding("signing", "error", exc.message, exc.remedy, is_unexamined=True)
        return
    relay, sender = settings.file.relay, settings.file.sender.address.rpartition("@")[2].lower()
    if signer:
        domain = signer.domain
        for key in signer.keys:
            message = f"email is signed by {key.selector}._domainkey.{domain}; {_CHECK_RECORD}"
            yield DoctorFinding("signing", "ok", message)
        advice = (
            f"Sign for {sender}, then run 'digest doctor --online' again to get the DNS record. "
            f"{advise_variable_change(settings, f'DIGEST_DKIM_DOMAIN={sender}')}"
        )
    elif relay.dkim_record:
        domain = relay.dkim_domain
        message = f"your mail server signs email by {relay.dkim_record}; {_CHECK_RECORD}; {_CHECK_MESSAGE}"
        yield DoctorFinding("signing", "ok", message)
        advice = f"Have your mail server sign for {sender}, and correct relay.dkim_record"
    else:
        message = "Email isn't signed (DKIM), so large mailbox providers will reject it."
        yield DoctorFinding("signing", unsigned, message, _describe_signing(settings))
        return
    if sender != domain and not sender.endswith(f".{domain}"):
        problem = f"Email is signed for {domain} but sent from {sender}. The domains aren't aligned, so DMARC fails."
        sender_line = advise_key_change(settings, "sender", f'address = "…@{domain}"')
        remedy = f"{advice}. Or send from {domain}."
        yield DoctorFinding("signing", "warning", problem, f"{remedy} {sender_line}", page_remedy=remedy)


def _describe_signing(settings: Settings) -> str:
    """Return instructions for signing with a new key."""
    domain = settings.file.sender.address.rpartition("@")[2].lower()
    file = settings.settings_place.parent / "dkim.pem"
    return (
        f"Run: openssl genrsa -out {file} 2048; chmod 600 {file}. In {settings.environment_place}, set "
        f"DIGEST_DKIM_DOMAIN={domain}, DIGEST_DKIM_SELECTOR=digest, and DIGEST_DKIM_KEY_FILE={file}. Then add "
        "the DNS record that 'digest doctor --online' prints. Or configure your mail server to sign, and set "
        "relay.dkim_record."
    )
