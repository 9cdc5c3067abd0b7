"""The admin pages' templates have words for everything that a record or an import can contain."""

from enum import StrEnum
from typing import Any

import pytest

from digest.app.subscribers.upload_files import UploadStage
from digest.deliver.compose.notice_mail import TO_STAFF
from digest.deliver.events.failure_causes import FailureCause
from subscribers.store.models import ConsentKind, PersonState
from subscribers.transfer.decisions import RowOutcome, RowReason


def words_of(world: Any, name: str) -> Any:
    """Return what a template defines, as the templates that import it see it."""
    with world.app.test_request_context():
        return world.app.jinja_env.get_template(f"web/admin/subscribers/{name}.html").module


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    [
        ("subscriber_words", "state_words", PersonState),
        ("subscriber_words", "cause_words", FailureCause),
        ("subscriber_words", "link_words", ConsentKind),
        ("import_words", "stage_words", UploadStage),
    ],
)
def test_every_value_has_its_words(world: Any, name: str, words: str, kind: type[StrEnum]) -> None:
    assert set(getattr(words_of(world, name), words)) == set(kind)


def test_every_row_has_an_outcome_and_rows_that_were_vouched_for_have_their_own(world: Any) -> None:
    words = words_of(world, "import_words")
    assert set(words.outcome_words) == {*RowOutcome, "vouched for"}
    assert str(words.row_outcome(RowReason.ATTESTED)) == "Vouched for by an admin"
    assert all(str(words.row_outcome(reason)) for reason in RowReason)


def test_the_rows_of_a_table_add_up(world: Any) -> None:
    counts = {"subscribed": 1200, "vouched for": 200, "blank": 3, "role addresses": 9}
    table = str(words_of(world, "import_words").outcome_rows(counts))
    assert [part in table for part in ("1,000</td>", ">200</td>", ">3</td>", ">1,203</td>")] == [True] * 4
    assert "role addresses" not in table


def test_each_mail_to_staff_alone_has_its_words(world: Any) -> None:
    words = words_of(world, "subscriber_words")
    assert TO_STAFF | {"test"} == set(words.staff_notices)
    assert str(words.notice("seal")) == "Integrity email"
    assert str(words.notice("new")) == "Email (new)"
