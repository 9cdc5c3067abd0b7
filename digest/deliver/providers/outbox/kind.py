"""The outbox as a provider: nothing leaves this machine."""

from collections.abc import Iterator
from pathlib import Path

from digest.deliver.providers.kind import DoctorFinding, ProviderKind
from digest.deliver.providers.mail_url import read_url_options, split_mail_url
from digest.deliver.providers.outbox.provider import OutboxProvider
from digest.deliver.providers.signing import find_signing_problems, load_provider_signer
from digest.settings import Settings


def _open(settings: Settings) -> OutboxProvider:
    url = split_mail_url(settings)
    read_url_options(url, {})
    return OutboxProvider(Path(url.path) if url.path else settings.outbox_folder, load_provider_signer(settings))


def _doctor_findings(settings: Settings) -> Iterator[DoctorFinding]:
    yield DoctorFinding("ok", f"mail goes to files in {settings.outbox_folder}; nobody is mailed")
    yield from find_signing_problems(settings, unsigned="ok")


KIND = ProviderKind(
    name=OutboxProvider.name,
    title="the outbox",
    url_examples=("outbox:",),
    open=_open,
    leaves_machine=lambda _: False,
    describe_recipient=lambda _: "Nobody outside: a file on our own machine",
    describe_address_holders=lambda _: (
        "At present nobody: this installation writes its mail into files and sends none.",
    ),
    doctor_findings=_doctor_findings,
)
