"""The outbox as a provider. It writes files and doesn't send anything."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.providers.base import (
    BatchOutcome,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
)
from digest.deliver.providers.kind import DoctorFinding, ProviderKind, read_url_options, split_mail_url
from digest.deliver.providers.setup_questions import ProviderQuestionnaire
from digest.deliver.providers.signing import check_signing, load_provider_signer
from digest.settings import Settings
from subscribers.crypto.key_file import sync_folder

_WRITTEN = MessageOutcome(HandoverStatus.ACCEPTED)


class OutboxProvider:
    """A provider that writes .eml files that only their owner can read.

    They're named `<folder>/edition/<delivery>.eml`, `<folder>/notice/…`, or `<folder>/test/…`.
    """

    name = "outbox"
    batch_size = 100
    batch_timeout = 120.0

    def __init__(self, folder: Path, signer: DkimSigner | None = None) -> None:
        self._folder = folder
        self._signer = signer

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Write the messages durably.

        An existing file of the same delivery is replaced. Only the time of a signature may differ.
        """
        written, stop_reason = 0, ""
        try:
            for message in messages:
                if not self._write_file(message, recorder):
                    break
                written += 1
            for name in {m.outbox_folder for m in messages}:
                sync_folder(self._folder / name)
        except OSError as exc:
            stop_reason = (
                f"Can't write to {self._folder}: {exc.strerror}. Free up space or change the folder's owner, then send "
                "again."
            )
        not_tried = (MessageOutcome(HandoverStatus.NOT_TRIED),) * (len(messages) - written)
        return BatchOutcome((*map(_describe_written, messages[:written]), *not_tried), stop_reason)

    def _write_file(self, message: OutgoingMessage, recorder: HandoverRecorder) -> bool:
        """Write a file atomically, which counts as acceptance. Return True if the file was written."""
        folder = self._folder / message.outbox_folder
        for path in (self._folder, folder):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{message.delivery_id}.tmp"
        with suppress(FileNotFoundError):
            draft.unlink()  # left over from a crash
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(message.to_bytes(self._signer))
            file.flush()
            os.fsync(file.fileno())
        if not recorder.mark_sending(message):
            draft.unlink()
            return False
        draft.replace(folder / f"{message.delivery_id}.eml")
        recorder.mark_outcome(message, _describe_written(message))
        return True

    def close(self) -> None:
        """Do nothing, because there's nothing to close."""


def _describe_written(message: OutgoingMessage) -> MessageOutcome:
    """Return the outcome of a written message.

    For a test, it contains the file's name, for the person who's waiting for it.
    """
    if message.outbox_folder != "test":
        return _WRITTEN
    return MessageOutcome(HandoverStatus.ACCEPTED, f"test/{message.delivery_id}.eml in the outbox folder")


def _open(settings: Settings) -> OutboxProvider:
    url = split_mail_url(settings)
    read_url_options(url, {})
    return OutboxProvider(Path(url.path) if url.path else settings.outbox_folder, load_provider_signer(settings))


def _doctor_findings(settings: Settings) -> Iterator[DoctorFinding]:
    yield from check_signing(settings, unsigned="ok")


class OutboxQuestionnaire(ProviderQuestionnaire):
    """The questions about the outbox: none."""

    words = "outbox (writes files)"
    sends = False
    plain_url = "outbox:"


KIND = ProviderKind(
    name=OutboxProvider.name,
    title="the outbox",
    url_examples=("outbox:",),
    open=_open,
    leaves_machine=lambda _: False,
    describe_recipient=lambda _, language: language.gettext("A file on our own server"),
    describe_address_recipients=lambda _, language: (
        language.gettext("At present, this installation saves emails to files on our server and doesn’t send them."),
    ),
    doctor_findings=_doctor_findings,
    questionnaire=OutboxQuestionnaire,
)
