"""DKIM for the providers whose messages we sign ourselves."""

from collections.abc import Iterator
from typing import Literal

from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer
from digest.deliver.providers.kind import DoctorFinding, ProviderSettingsError
from digest.settings import Settings
from digest.settings.setting_lines import advise_key_change, advise_variable_change


def load_provider_signer(settings: Settings) -> DkimSigner | None:
    """Load the signer of the settings; None where messages are not signed.

    Raises:
        ProviderSettingsError: the key cannot be used.
    """
    try:
        return load_signer(settings)
    except DkimError as exc:
        raise ProviderSettingsError(exc.message, remedy=exc.remedy) from exc


def find_signing_problems(settings: Settings, *, unsigned: Literal["ok", "warning"]) -> Iterator[DoctorFinding]:
    """Check the signature for `digest doctor`; `unsigned` is the level of a missing one."""
    try:
        signer = load_signer(settings)
    except DkimError as exc:
        yield DoctorFinding("signing", "error", exc.message, exc.remedy)
        return
    if signer is None:
        yield DoctorFinding(
            "signing",
            unsigned,
            "mail is not signed (DKIM): the large providers refuse newsletters without a signature.",
            _describe_signing(settings),
        )
        return
    for key in signer.keys:
        name = f"{key.selector}._domainkey.{signer.domain}"
        told = f"mail is signed by {name}; 'digest doctor --online' says whether the DNS has its record"
        yield DoctorFinding("signing", "ok", told)
    sender = settings.file.sender.address.rpartition("@")[2].lower()
    if sender != signer.domain and not sender.endswith(f".{signer.domain}"):
        yield DoctorFinding(
            "signing",
            "warning",
            f"mail is signed for {signer.domain} and comes from {sender}: without a common domain DMARC fails.",
            f"Sign for {sender}, then run 'digest doctor --online' again, which prints the record for the DNS: "
            f"{advise_variable_change(settings, f'DIGEST_DKIM_DOMAIN={sender}')}; or write from {signer.domain}: "
            + advise_key_change(settings, "sender", f'address = "…@{signer.domain}"'),
        )


def _describe_signing(settings: Settings) -> str:
    """Say how to sign with a new key."""
    domain = settings.file.sender.address.rpartition("@")[2].lower()
    file = settings.settings_place.parent / "dkim.pem"
    return (
        f"Run: openssl genrsa -out {file} 2048; chmod 600 {file}; write DIGEST_DKIM_DOMAIN={domain}, DIGEST_DKIM_SELECTOR=digest and "
        f"DIGEST_DKIM_KEY_FILE={file} into {settings.environment_place}; and enter the record that 'digest doctor --online' prints then into "
        "the DNS. Or let your mail server sign."
    )
