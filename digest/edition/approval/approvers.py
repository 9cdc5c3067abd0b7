"""Who may approve an edition: no one twice, and no text, link, or image on its author's word alone. Pure.

A signature is over a whole version. So one by somebody who wrote nothing in it approves it all, and one by an author approves
what others wrote: where two wrote, both sign.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

STAFF_PREFIX = "staff "  # begins the names of actors who are on the staff


def count_missing_approvals(needed: int, authors: Sequence[str], signed: Sequence[str]) -> int:
    """Return how many more approvals a version takes at least, 0 if it's approved.

    Args:
        needed: how many people other than its author have to approve each text, link, and image.
        authors: who wrote in the version; empty where nobody did, or where the rule doesn't apply.
        signed: who has approved it.
    """
    counted = [_count_others(author, signed) for author in authors] or [len(set(signed))]
    return max(0, needed - min(counted))


def _count_others(author: str, signed: Sequence[str]) -> int:
    """Count the approvals by people who certainly aren't an author.

    An approval from a terminal without `--as` could be anybody's, so it doesn't count. For what such a terminal wrote, any one
    of those who approved may be its author.
    """
    members = {actor for actor in signed if is_staff_name(actor)}
    return len(members - {author}) if is_staff_name(author) else len(members) - 1


def is_staff_name(actor: str) -> bool:
    """Return whether an actor's name is a member of the staff's."""
    return actor.startswith(STAFF_PREFIX)


@dataclass(frozen=True, slots=True)
class ApproverRule:
    """Who may still approve an edition, by the names that the audit log has for them.

    `needed` is how many approvals each part takes, `signed` who has approved this version already, `written` who wrote in it,
    `staff` who can sign in. Where `is_alone`, there's one of those at most: then they approve what they wrote.
    """

    needed: int
    signed: Sequence[str]
    written: Sequence[str]
    staff: Collection[str]
    is_alone: bool = False

    @property
    def authors(self) -> Sequence[str]:
        """Those whose words somebody else has to approve."""
        return () if self.is_alone else self.written

    @property
    def missing(self) -> int:
        """How many more approvals it takes at least."""
        return count_missing_approvals(self.needed, self.authors, self.signed)

    def is_open(self, author: str) -> bool:
        """Return whether somebody else still has to approve what an author wrote."""
        return author in self.authors and count_missing_approvals(self.needed, (author,), self.signed) > 0

    def sign(self, actor: str) -> "ApproverRule":
        """Return the rule after another approval."""
        return replace(self, signed=(*self.signed, actor))

    def explain_refusal(self, actor: str) -> str:
        """Say why somebody may not approve it; empty where they may."""
        if actor in self.signed:
            return "You already approved this version. Someone else needs to approve it too."
        if not is_staff_name(actor) and self.needed > 1:
            return "Two people have to approve it. Say who you are with --as EMAIL."
        if not is_staff_name(actor) and self.authors:
            return (
                "Editors wrote some of it, so say who you are with --as EMAIL. An author's own approval isn't enough."
            )
        if self.authors and not any(self.is_open(author) for author in self.authors if author != actor):
            return "You wrote what still needs approval. Someone else has to approve it."
        return ""

    def list_eligible(self) -> list[str]:
        """List who of the staff may still approve it."""
        return [actor for actor in self.staff if not self.explain_refusal(actor)]
