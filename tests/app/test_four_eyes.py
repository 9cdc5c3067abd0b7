"""Four eyes: an approval counts only where somebody else wrote the texts, links, and images, whoever edited last."""

import pytest

from digest.app import editing
from digest.app.installation import Installation
from digest.edition.approval import ApprovalError
from digest.store.models import EditionState
from tests.app.test_approvals import DANA, PRIYA, approve, edition_of, install_on_both, write_intro
from tests.app.test_editing import TITLES, form, url_of

__all__ = ["install_on_both"]


def test_authors_cannot_approve_their_own_words_after_a_colleague_pinned_a_story(install_on_both: Installation) -> None:
    write_intro(install_on_both, DANA, "Good morning.")
    editing.pin_story(install_on_both, form(actor=PRIYA), url_of(TITLES[0]), pinned=True)
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install_on_both, DANA)
    approve(install_on_both, PRIYA)
    assert edition_of(install_on_both).state == EditionState.APPROVED
