"""Rules for approving an edition. Pure functions.

Each person counts once, and no part may be approved only by its author. A signature covers a whole
version. The signature of a person who didn't write anything in it approves everything, while that of
an author approves only the parts by others. With two authors, both must sign.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

STAFF_PREFIX = "staff "  # prefix of the names of staff actors


def count_missing_approvals(needed: int, authors: Sequence[str], signed: Sequence[str]) -> int:
    """Return the minimum number of additional approvals that a version needs, or 0 if it's approved.

    Args:
        needed: the number of approvals that each text, link, and image requires from people
            other than its author.
        authors: the authors in the version; empty if there are none or the rule doesn't apply.
        signed: the people who have approved it.
    """
    counted = [_count_others(author, signed) for author in authors] or [len(set(signed))]
    return max(0, needed - min(counted))


def _count_others(author: str, signed: Sequence[str]) -> int:
    """Return the number of approvals by people who certainly aren't the author.

    An approval from a terminal without `--as` could be anyone's, so it doesn't count. The author of
    an edit from such a terminal could be any of the approvers.
    """
    members = {actor for actor in signed if is_staff_name(actor)}
    return len(members - {author}) if is_staff_name(author) else len(members) - 1


def is_staff_name(actor: str) -> bool:
    """Return True if an actor's name in the audit log is that of a staff member."""
    return actor.startswith(STAFF_PREFIX)


@dataclass(frozen=True, slots=True)
class ApproverRule:
    """The rule for approving an edition. People's names are those in the audit log.

    `needed` is the number of approvals that each part requires, `signed` are the people who have
    approved this version, `written` are its authors, and `staff` are the members who can sign in.
    If `is_alone` is true, there's at most one member, who may approve their own text.
    """

    needed: int
    signed: Sequence[str]
    written: Sequence[str]
    staff: Collection[str]
    is_alone: bool = False

    @property
    def authors(self) -> Sequence[str]:
        """The authors whose parts another person must approve."""
        return () if self.is_alone else self.written

    @property
    def missing(self) -> int:
        """The minimum number of additional approvals that the version needs."""
        return count_missing_approvals(self.needed, self.authors, self.signed)

    def awaits_approval(self, author: str) -> bool:
        """Return True if another person must still approve an author's parts."""
        return author in self.authors and count_missing_approvals(self.needed, (author,), self.signed) > 0

    def with_approval(self, actor: str) -> "ApproverRule":
        """Return a copy of the rule with an additional approval by `actor`."""
        return replace(self, signed=(*self.signed, actor))

    def explain_refusal(self, actor: str) -> str:
        """Explain why an actor may not approve the version, or return "" if they may."""
        if actor in self.signed:
            return "You already approved this version. Someone else needs to approve it too."
        if not is_staff_name(actor) and self.needed > 1:
            return "Two people's approvals are required. Say who you are with --as EMAIL."
        if not is_staff_name(actor) and self.authors:
            return (
                "Editors wrote parts of the text, and an author's own approval isn't enough. "
                "Say who you are with --as EMAIL."
            )
        if self.authors and not any(self.awaits_approval(author) for author in self.authors if author != actor):
            return "You wrote what still needs approval. Someone else has to approve it."
        return ""

    def list_eligible(self) -> list[str]:
        """Return the staff members who may still approve the version."""
        return [actor for actor in self.staff if not self.explain_refusal(actor)]
