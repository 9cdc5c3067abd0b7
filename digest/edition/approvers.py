"""Who may approve an edition: nobody twice, and not who edited it last. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

STAFF_PREFIX = "staff "  # begins the names of actors who are on the staff


@dataclass(frozen=True, slots=True)
class ApproverRule:
    """Who may still approve an edition as it stands, by the names that the audit log has for them.

    `needed` is how many approvals it takes, `signed` who has approved it already, `last_editor` who edited it last (None: nobody
    has), `staff` who of the staff has proven their address.
    """

    needed: int
    signed: Sequence[str]
    last_editor: str | None
    staff: Collection[str]

    def explain_refusal(self, actor: str) -> str:
        """Say why somebody may not approve it; empty where they may."""
        if actor in self.signed:
            return "You have approved this version already: somebody else has to as well."
        if self.needed > 1 and not actor.startswith(STAFF_PREFIX):
            return "Two people have to approve: say which of the staff you are, with --as EMAIL."
        if self.is_barred_by_edit(actor):
            return "You were the last to edit it: somebody else has to approve it."
        return ""

    def list_eligible(self) -> list[str]:
        """List who of the staff may still approve it."""
        return [actor for actor in self.staff if not self.explain_refusal(actor)]

    def is_barred_by_edit(self, actor: str) -> bool:
        """Return whether somebody may not approve because they edited last. One who works alone approves what they wrote."""
        is_alone = self.needed == 1 and not set(self.staff) - {actor}
        return actor == self.last_editor and not is_alone
