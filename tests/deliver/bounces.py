"""Mails as a bounce mailbox gets them, in the forms of many systems, about one message to one reader."""

from dataclasses import dataclass, replace
from pathlib import Path

from digest.deliver import return_path
from digest.deliver.identity import delivery_id, message_id
from subscribers import tokens
from subscribers.vault import Keys

FOLDER = Path(__file__).parent.parent / "fixtures" / "mailbox"
FORMS = sorted(file.stem for file in FOLDER.glob("*.eml"))
READER = "ada.lovelace@analytical.example"


@dataclass(frozen=True)
class About:
    """The message that comes back."""

    path: str
    delivery: str
    message_id: str
    token: str
    reader: str = READER

    def mail(self, form: str) -> bytes:
        """Write a mail in one of the `FORMS`."""
        text = (FOLDER / f"{form}.eml").read_text("utf-8")
        marks = {
            "%PATH%": self.path,
            "%ENVELOPE%": self.delivery,
            "%MESSAGE%": self.message_id,
            "%TOKEN%": self.token,
            "%READER%": self.reader,
        }
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text.replace("\n", "\r\n").encode()

    def forged(self) -> "About":
        """Give the same with a MAC that is not ours, and a token that is not."""
        local, _, domain = self.path.partition("@")
        changed = local[:-1] + ("a" if local[-1] != "a" else "b")
        token = self.token[:-2] + ("AA" if self.token[-2:] != "AA" else "BA")
        return replace(self, path=f"{changed}@{domain}", token=token)


def about(keys: Keys, person: int, purpose: str = "edition:2026-W47", reader: str = READER) -> About:
    delivery = delivery_id(keys, purpose, person)
    return About(
        path=return_path.make(keys, delivery, "bounce.example.net"),
        delivery=delivery,
        message_id=message_id(purpose, delivery, "weekly.news.example.org"),
        token=tokens.make(keys, person, "leave"),
        reader=reader,
    )
