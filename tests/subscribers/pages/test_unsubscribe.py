"""RFC 8058 at `/u/<token>`, in every form that a mailbox provider can send."""

import json
import logging
from typing import Any

import pytest
from sqlalchemy import select

from subscribers.crypto import link_tokens
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState

MULTIPART = b'--xyz\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--xyz--\r\n'
FORMS: dict[str, dict[str, Any]] = {
    "url-encoded": {"data": "List-Unsubscribe=One-Click", "content_type": "application/x-www-form-urlencoded"},
    "multipart": {"data": MULTIPART, "content_type": "multipart/form-data; boundary=xyz"},
    "multipart, cut off": {"data": MULTIPART[:40], "content_type": "multipart/form-data; boundary=xyz"},
    "multipart without a boundary": {"data": MULTIPART, "content_type": "multipart/form-data"},
    "empty": {},
    "empty, with a type": {"data": b"", "content_type": "application/x-www-form-urlencoded"},
    "other fields too": {"data": {"List-Unsubscribe": "One-Click", "csrf_token": "no", "token": "another"}},
    "another value": {"data": {"List-Unsubscribe": "one-click"}},
    "json": {"data": "{}", "content_type": "application/json"},
    "bytes that are no text": {"data": b"\xff\xfe%ZZ=\x00", "content_type": "application/x-www-form-urlencoded"},
    "a strange user agent": {"headers": {"User-Agent": "\x21\u00e9\u00ff"}},
    "a foreign origin": {
        "headers": {"Origin": "https://mail.google.example", "Referer": "https://mail.google.example/"}
    },
    "a body that is too large": {"data": b"a=" + b"x" * 100_000, "content_type": "application/x-www-form-urlencoded"},
}


def state_of(world: Any, number: int) -> PersonState:
    with world.database.read() as session:
        person = session.get(Person, number)
        assert person is not None
        return PersonState(person.state)


def departures(world: Any) -> list[dict[str, Any]]:
    with world.database.read() as session:
        query = select(ConsentEvent.body).where(ConsentEvent.kind == ConsentKind.WITHDRAWN)
        return [json.loads(body) for body in session.scalars(query)]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_one_post_takes_a_subscriber_off_the_list_whatever_it_holds(world: Any, form: dict[str, Any]) -> None:
    answer = world.client.post(f"/u/{world.token('leave')}", **form)
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"].startswith("noindex")
    assert state_of(world, world.ada) == PersonState.WITHDRAWN
    assert departures(world) == [{"method": "one-click"}]
    assert len(world.install.settings.left_log.read_text().splitlines()) == 1


def test_leaving_twice_is_one_departure(both: Any) -> None:
    path = f"/u/{both.token('leave')}"
    first, second = both.client.post(path), both.client.post(path)
    assert first.status_code == second.status_code == 200
    assert first.data == second.data
    assert len(departures(both)) == 1


def test_the_button_of_the_page_leaves_and_the_ledger_knows_that_it_was_the_page(both: Any) -> None:
    path = f"/u/{both.token('leave')}"
    page = both.client.get(path)
    assert page.text.count("<button") == 1
    assert "Unsubscribe from HLS.Today?" in page.text
    assert "For a•••@analytical.example." in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert state_of(both, both.ada) == PersonState.SUBSCRIBED
    both.client.post(path, data={"from": "page"})
    assert departures(both) == [{"method": "page"}]
    assert "You’re not subscribed" in both.client.get(path).text


def test_a_subscriber_who_is_gone_is_answered_all_the_same(world: Any) -> None:
    token = world.token("leave", 99_999)
    before = world.dump()
    assert world.client.post(f"/u/{token}").status_code == 200
    assert world.client.get(f"/u/{token}").status_code == 200
    assert world.client.get(f"/preferences/{world.token('preferences', 99_999)}").status_code == 200
    assert world.dump() == before


def bad_tokens(world: Any) -> list[str]:
    leave = world.token("leave")
    other = chr(ord(leave[3]) + 1) if leave[3] not in "zZ9-_" else "a"
    return [
        leave[:-1],
        leave + "A",
        leave[:3] + other + leave[4:],
        leave.swapcase(),
        "A" * 22,
        "x",
        "%E2%82%AC" * 22,
        "a" * 5000,
        f"{leave}/",
    ]


def test_every_token_that_is_not_ours_gets_one_and_the_same_page(world: Any) -> None:
    strangers = [f"/u/{t}" for t in bad_tokens(world) if "/" not in t]
    strangers += [f"/preferences/{t}" for t in bad_tokens(world) if "/" not in t]
    strangers += [f"/u/{world.token('preferences')}", f"/preferences/{world.token('leave')}"]
    before = world.dump()
    answers = [world.client.open(path, method=method) for path in strangers for method in ("GET", "POST")]
    assert {a.status_code for a in answers} == {404}
    assert len({a.data for a in answers}) == 1
    assert len({tuple(sorted((k, v) for k, v in a.headers.items())) for a in answers}) == 1
    assert world.dump() == before


def test_a_slash_after_the_token_is_no_redirect(world: Any) -> None:
    answer = world.client.post(f"/u/{world.token('leave')}/")
    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize(("purpose", "path"), [("test leave", "/u"), ("test preferences", "/preferences")])
def test_the_links_of_a_test_mail_say_so_and_change_nothing(
    world: Any, purpose: link_tokens.LinkPurpose, path: str
) -> None:
    before = world.dump()
    for method in ("GET", "POST"):
        answer = world.client.open(f"{path}/{world.token(purpose)}", method=method)
        assert answer.status_code == 200
        assert "This was a test email" in answer.text
    assert world.dump() == before


def test_no_log_line_holds_a_token_or_an_address(
    world: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    token, chosen = world.token("leave"), world.token("preferences")
    world.client.get(f"/u/{token}")
    world.client.get(f"/preferences/{chosen}")
    world.client.post(f"/u/{token}")
    world.app.testing = False
    world.app.config["PROPAGATE_EXCEPTIONS"] = False
    world.install.settings.left_log.unlink()
    world.install.settings.left_log.mkdir()  # so that the journal cannot be written
    failing = world.token("leave", another_subscriber(world))
    assert world.client.post(f"/u/{failing}").status_code == 500
    output = caplog.text + "".join(capsys.readouterr())
    assert "/u/<token>" in output
    assert "analytical" not in output
    for secret in (token, chosen, failing):
        assert secret not in output


def another_subscriber(world: Any) -> int:
    with world.database.write() as session:
        ada = session.get(Person, world.ada)
        person = Person(
            lookup="b" * 64,
            lookup_key=ada.lookup_key,
            ciphertext=ada.ciphertext,
            key_id=ada.key_id,
            state=PersonState.SUBSCRIBED,
            choices={},
            chain_head="",
            asked_at=ada.asked_at,
            asked_where="hls.today",
        )
        session.add(person)
        session.flush()
        return int(person.number)


def test_where_the_unsubscribe_log_cannot_be_written_nobody_is_told_that_it_is_done(both: Any) -> None:
    both.app.testing = False
    both.app.config["PROPAGATE_EXCEPTIONS"] = False
    both.install.settings.left_log.mkdir()
    answer = both.client.post(f"/u/{both.token('leave')}")
    assert answer.status_code == 500
    assert "Something went wrong on our end" in answer.text
    assert state_of(both, both.ada) == PersonState.SUBSCRIBED
