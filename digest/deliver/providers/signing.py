"""DKIM for the providers whose messages we sign ourselves."""

from collections.abc import Iterator
from typing import Literal

from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer
from digest.deliver.providers.kind import DoctorFinding, ProviderSettingsError
from digest.settings import Settings


def load_provider_signer(settings: Settings) -> DkimSigner | None:
    """Load the signer of the settings; None where messages are not signed.

    Raises:
        ProviderSettingsError: the key cannot be used.
    """
    try:
        return load_signer(settings)
    except DkimError as exc:
        raise ProviderSettingsError(str(exc)) from exc


def find_signing_problems(settings: Settings, *, unsigned: Literal["ok", "warning"]) -> Iterator[DoctorFinding]:
    """Check the signature for `digest doctor`; `unsigned` is the level of a missing one."""
    try:
        signer = load_signer(settings)
    except DkimError as exc:
        yield DoctorFinding("signing", "error", str(exc), "docs/operating.md says how to make the key file.")
        return
    if signer is None:
        yield DoctorFinding(
            "signing",
            unsigned,
            "mail is not signed (DKIM): the large providers refuse newsletters without a signature.",
            "Set DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR and DIGEST_DKIM_KEY_FILE, or let your mail server sign.",
        )
        return
    for key in signer.keys:
        name = f"{key.selector}._domainkey.{signer.domain}"
        yield DoctorFinding(
            "signing", "ok", f"mail is signed; the DNS must have at {name} the TXT record {key.dns_record()}"
        )
    sender = settings.file.sender.address.rpartition("@")[2].lower()
    if sender != signer.domain and not sender.endswith(f".{signer.domain}"):
        yield DoctorFinding(
            "signing",
            "warning",
            f"mail is signed for {signer.domain} and comes from {sender}: without a common domain DMARC fails.",
            f"Sign with a key of {sender}, or write from {signer.domain}.",
        )
