"""Check every message that a send passed to a server: it's valid, signed, and for one person only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim as judge

from digest.deliver.compose import return_path
from digest.deliver.compose.dkim import DkimSigner
from digest.installation.opened_installation import Installation
from digest.web.app import create_app
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Person, PersonState
from tests.deliver.message_lint import decoded_parts, message_faults

REQUIRED_SIGNED_HEADERS = {
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
}
_ADDRESS = re.compile(r"[\w.+-]+@(?:domain\d+\.)?example\.org")


@dataclass(frozen=True)
class SentMessageChecker:
    """What is known of a send: who has which address, and whose each delivery is."""

    keys: KeyRing
    signer: DkimSigner
    person_by_address: Mapping[str, int]  # by address
    person_by_delivery: Mapping[str, int | None]  # the person of each delivery

    def check_message(self, sender: str | None, recipients: Sequence[str], raw: bytes) -> int:
        """Look at one message with its envelope; give whose it is."""
        (to,) = recipients
        number = self.person_by_address[to]
        assert message_faults(raw) == []
        message = message_from_bytes(raw, policy=policy.default)
        assert isinstance(message, EmailMessage)
        assert str(message["To"]) == to
        assert verify_signatures(raw, self.signer) == [True] * len(self.signer.keys)
        covered = re.sub(rb"\s", b"", raw.partition(b" h=")[2].partition(b";")[0]).decode().split(":")
        assert set(covered) >= REQUIRED_SIGNED_HEADERS
        assert sender is not None
        assert [self.person_by_delivery[d] for d in return_path.extract_delivery_ids(self.keys, sender)] == [number]
        token = str(message["List-Unsubscribe"]).rstrip(">").rpartition("/")[2]
        assert link_tokens.read_link_token(self.keys, token, "leave") == (number, 0)
        texts = decoded_parts(message)
        assert all(f"/u/{token}" in text for text in texts)
        assert _ADDRESS.findall(raw.decode("ascii")) == [to], "an address but the recipient's own"
        assert not [address for text in texts for address in _ADDRESS.findall(text) if address != to]
        return number


def verify_signatures(raw: bytes, signer: DkimSigner) -> list[bool]:
    """Ask dkimpy about every signature."""
    records = {f"{k.selector}._domainkey.{signer.domain}.".encode(): k.dns_record().encode() for k in signer.keys}
    message = judge.DKIM(raw)
    return [
        bool(message.verify(idx=at, dnsfunc=lambda name, timeout: records.get(name) if timeout else None))
        for at in range(len(signer.keys))
    ]


def unsubscribe_and_check(installation: Installation, keys: KeyRing, numbers: Sequence[int]) -> None:
    """Leave by one click for each of these people, and see that each click is theirs alone."""
    installation.settings.key_file.touch(mode=0o600)
    installation.settings.key_file.write_text(keys.to_json())
    client = create_app(installation).test_client()
    for number in numbers:
        before = subscribed_numbers(installation)
        token = link_tokens.make_link_token(keys, number, "leave", address="")
        answer = client.post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert before - subscribed_numbers(installation) == {number}


def subscribed_numbers(installation: Installation) -> set[int]:
    """Give everybody who is subscribed."""
    with installation.database.read() as session:
        query = session.query(Person.number).where(Person.state == PersonState.SUBSCRIBED)
        return {row[0] for row in query}
