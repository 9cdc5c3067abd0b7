"""Emails that a bounce mailbox gets, in many systems' formats, about one message to one subscriber."""

from dataclasses import dataclass, replace
from pathlib import Path

from digest.deliver.compose import return_path
from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

MAIL_FOLDER = Path(__file__).parent.parent / "fixtures" / "mailbox"
MAIL_FORMS = sorted(file.stem for file in MAIL_FOLDER.glob("*.eml"))
SUBSCRIBER_ADDRESS = "ada.lovelace@analytical.example"


@dataclass(frozen=True)
class SentMessage:
    """The message that comes back."""

    return_path: str
    delivery: str
    message_id: str
    leave_token: str
    subscriber_address: str = SUBSCRIBER_ADDRESS

    @property
    def unsubscribe_address(self) -> str:
        """The address in its List-Unsubscribe."""
        return f"bounce+{link_tokens.convert_to_base32(self.leave_token)}@bounce.example.net"

    def returned_mail(self, form: str) -> bytes:
        """Write a mail in one of the `MAIL_FORMS`."""
        text = (MAIL_FOLDER / f"{form}.eml").read_text("utf-8")
        marks = {
            "%PATH%": self.return_path,
            "%ENVELOPE%": self.delivery,
            "%MESSAGE%": self.message_id,
            "%TOKEN%": self.leave_token,
            "%READER%": self.subscriber_address,
        }
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text.replace("\n", "\r\n").encode()

    def forged_copy(self) -> "SentMessage":
        """Give the same with a MAC that is not ours, and a token that is not."""
        local, _, domain = self.return_path.partition("@")
        changed = local[:-1] + ("a" if local[-1] != "a" else "b")
        # The last four bytes only say to which address it was emailed, and anyone who has the rest may unsubscribe.
        token = self.leave_token[:8] + ("AA" if self.leave_token[8:10] != "AA" else "BA") + self.leave_token[10:]
        return replace(self, return_path=f"{changed}@{domain}", leave_token=token)


def sent_message(
    keys: KeyRing, person: int, purpose: str = "edition:2026-W47", subscriber_address: str = SUBSCRIBER_ADDRESS
) -> SentMessage:
    delivery = make_delivery_id(keys, purpose, person)
    return SentMessage(
        return_path=return_path.make_return_path(keys, delivery, "bounce.example.net"),
        delivery=delivery,
        message_id=make_message_id(purpose, delivery, "weekly.news.example.org"),
        leave_token=link_tokens.make_link_token(keys, person, "leave", address=""),
        subscriber_address=subscriber_address,
    )
