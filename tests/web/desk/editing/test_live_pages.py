"""Colleagues on the page, changes in the meantime, and shortcuts, as the page's script requests them."""

import html
import re
from datetime import timedelta
from typing import Any

from sqlalchemy import event, select

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editing.presence import KEPT_PERIOD, PRESENT_PERIOD
from digest.app.editions.edition_status import read_edition_status
from digest.store.account_models import EditingPresence
from digest.store.models import Edition, EditionState
from digest.web.app_state import SCRIPT_FILES, strip_comment_lines
from tests.actors import EDITOR
from tests.conftest import ROOT
from tests.moments import Clock
from tests.web.desk.sample_week import SampleWeek

SCRIPT = ROOT / "templates/web/desk.js"
SELECTION = ROOT / "templates/web/selection.js"


def beat(week: SampleWeek, editor: str, **fields: str) -> Any:
    answer = week.client(editor).post(f"{week.path}/presence", data=fields)
    assert answer.status_code in {200, 204}
    return answer.json if answer.status_code == 200 else None


def test_two_editors_see_each_other_and_where(week: SampleWeek) -> None:
    third = week.anchors("topics")[2]
    assert beat(week, "sam", place=third)["others"] == []
    assert beat(week, "dana", place="")["others"] == [{"name": "Sam", "at": third}]
    assert beat(week, "sam", place="head")["others"] == [{"name": "Dana", "at": ""}]
    assert beat(week, "dana", place="")["others"] == [{"name": "Sam", "at": "head"}]


def test_whoever_closed_the_page_or_fell_silent_is_here_no_more(week: SampleWeek, clock: Clock) -> None:
    beat(week, "sam", place="")
    beat(week, "sam", gone="1")
    assert beat(week, "dana", place="")["others"] == []
    beat(week, "sam", place="")
    clock.now += PRESENT_PERIOD
    assert beat(week, "dana", place="")["others"] == []


def test_without_scripts_the_page_itself_says_who_is_here_and_is_seen(week: SampleWeek, clock: Clock) -> None:
    third, client = week.anchors("topics")[2], week.client("sam")
    page = client.get(f"{week.path}?open={third}").text
    noscript = re.search(r"<noscript>(<form .+?</form>)</noscript>", page, re.DOTALL)
    assert noscript is not None
    sent = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', noscript[1]))
    assert sent["place"] == third
    assert sent["csrf_token"], "it writes, so it carries the form token"
    answer = client.post(f"{week.path}/presence", data=sent | {"by": "button"})
    assert (answer.status_code, answer.location) == (303, f"{week.path}?open={third}")
    title = next(s.title for s in week.installation.settings.file.sections if s.key == "topics")
    assert f">Also here: Sam, in {title} 3.</span>" in week.client().get(week.path).text
    assert "Also here" not in client.get(week.path).text, "looking alone notes nothing"
    clock.now += PRESENT_PERIOD
    assert "Also here" not in week.client().get(week.path).text


def test_rows_of_presence_are_deleted_after_a_day(week: SampleWeek, clock: Clock) -> None:
    beat(week, "sam", place="")
    clock.now += KEPT_PERIOD + timedelta(seconds=1)
    beat(week, "dana", place="")
    with week.installation.database.read() as session:
        assert session.query(EditingPresence).count() == 1


def test_the_page_hears_who_changed_the_edition_last(week: SampleWeek, clock: Clock) -> None:
    assert beat(week, "dana", place="")["seq"] == 0
    week.act(f"drop {week.anchors('featured')[1]}", "sam")
    heard = beat(week, "dana", place="")
    assert heard["seq"] == 1
    assert heard["changed"] == "Sam changed it, 5:35 p.m."
    assert beat(week, "sam", place="")["changed"] == "You changed it, 5:35 p.m."
    assert ">Saved 5:35 p.m.</span>" in week.client().get(week.path).text
    clock.now += timedelta(days=1)
    assert beat(week, "dana", place="")["changed"] == "Sam changed it, Nov. 19, 5:35 p.m."
    assert ">Saved Nov. 19, 5:35 p.m.</span>" in week.client().get(week.path).text


def test_a_beat_without_news_reads_who_is_here_and_nothing_of_the_edition(week: SampleWeek, clock: Clock) -> None:
    week.act(f"up {week.anchors('featured')[1]}")
    client = week.client()
    first = client.post(f"{week.path}/presence").json
    assert first is not None
    known = first["revision"]
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    event.listen(week.installation.database.engine, "before_cursor_execute", note)
    answer = client.post(f"{week.path}/presence", data={"place": "", "revision": known})
    event.remove(week.installation.database.engine, "before_cursor_execute", note)
    assert answer.json == {"others": [], "revision": known}
    # The session, what was taken from its member, the edition's revision, one's own row, those of others.
    assert len([said for said in statements if not said.startswith("BEGIN")]) == 5
    assert not [said for said in statements if "proposal.body" in said or "edit.value" in said]
    heard = {known}
    for act in (lambda: week.act("undo"), lambda: note_wish(week, clock), lambda: approve(week, clock)):
        act()
        told = beat(week, "dana", place="", revision=known)
        assert "standing" in told, "what changed is told"
        known = told["revision"]
        assert known not in heard
        heard.add(known)


def note_wish(week: SampleWeek, clock: Clock) -> None:
    approval_overviews.send_back_edition(week.installation, week.name, "The lead is old.", actor=EDITOR, now=clock.now)
    note = approval_overviews.list_open_notes(week.installation, week.name)[0].id
    approval_overviews.mark_note_done(week.installation, week.name, note, actor=EDITOR, now=clock.now)


def approve(week: SampleWeek, clock: Clock) -> None:
    mark = read_edition_status(week.installation, week.name, now=clock.now).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=clock.now)


def test_the_page_hears_what_became_of_the_approval(week: SampleWeek, clock: Clock) -> None:
    installation, name = week.installation, week.name
    heard = []

    def hear() -> dict[str, str]:
        shown = re.search(r'data-standing="([^"]*)"', week.client().get(week.path).text)
        told = beat(week, "dana", place="")["standing"]
        assert shown is not None
        assert html.unescape(shown[1]) == told["key"], "a page that is made now has nothing to hear"
        assert told["key"] not in heard
        heard.append(told["key"])
        return {"badge": told["badge"], "tone": told["tone"], "words": told["words"]}

    at = "Nov. 19, 5:35 p.m."
    assert hear() == {"badge": "Draft", "tone": "", "words": "This edition is a draft."}
    approve(week, clock)
    words = f"Approved by Sam, {at} Any change revokes the approval."
    assert hear() == {"badge": "Approved", "tone": "ok", "words": words}
    edition_approval.revoke_approval(installation, name, actor=EDITOR, now=clock.now)
    assert hear() == {"badge": "Approval revoked", "tone": "warn", "words": f"Sam revoked the approval, {at}"}
    approval_overviews.send_back_edition(installation, name, "The lead is old.", actor=EDITOR, now=clock.now)
    assert hear() == {"badge": "Sent back", "tone": "warn", "words": f"Sent back by Sam, {at}"}
    note = approval_overviews.list_open_notes(installation, name)[0].id
    approval_overviews.mark_note_done(installation, name, note, actor=EDITOR, now=clock.now)
    approve(week, clock)
    hear()
    week.act(f"drop {week.anchors('featured')[1]}", "dana")
    assert hear()["words"] == f"Dana changed it, which revoked the approval, {at}"
    approve(week, clock)
    hear()
    for state, words in ((EditionState.SENDING, "is being sent"), (EditionState.SENT, "was sent")):
        with installation.database.write() as session:
            session.scalars(select(Edition)).one().state = state
        told = beat(week, "dana", place="")["standing"]
        assert told["words"] == f"This edition {words} and can no longer be changed."
        assert told["key"] not in heard


def test_a_note_that_is_done_is_heard_of_too(week: SampleWeek, clock: Clock) -> None:
    approval_overviews.send_back_edition(week.installation, week.name, "The lead is old.", actor=EDITOR, now=clock.now)
    note = approval_overviews.list_open_notes(week.installation, week.name)[0].id
    approval_overviews.mark_note_done(week.installation, week.name, note, actor=EDITOR, now=clock.now)
    words = "Sam marked the note as done, Nov. 19, 5:35 p.m."
    assert beat(week, "dana", place="")["standing"] | {"key": ""} == {
        "key": "",
        "badge": "Draft",
        "tone": "",
        "words": words,
        "approval": "",
    }


def test_an_unknown_place_is_no_fault(week: SampleWeek) -> None:
    beat(week, "sam", place="<script>" * 20)
    assert beat(week, "dana", place="")["others"] == [{"name": "Sam", "at": ("<script>" * 20)[:40]}]
    assert week.client().post("/desk/editions/none/presence", data={"place": ""}).status_code == 404


def test_presence_is_no_act_and_stands_in_no_history(week: SampleWeek) -> None:
    beat(week, "dana", place="")
    assert week.state.last_seq == 0
    assert "No edits yet" in week.client().get(week.path).text


def test_single_letters_are_switched_off_for_one_member_alone(week: SampleWeek) -> None:
    assert 'data-letters="on"' in week.client("dana").get(week.path).text
    answer = week.client("dana").post("/desk/keys", data={"letters": "off"})
    assert answer.status_code == 303
    assert 'data-letters="off"' in week.client("dana").get(week.path).text
    assert 'data-letters="on"' in week.client("sam").get(week.path).text
    assert "Turn on single-letter shortcuts" in week.client("dana").get("/desk/keys").text
    week.client("dana").post("/desk/keys", data={"letters": "on"})
    assert 'data-letters="on"' in week.client("dana").get(week.path).text


def test_every_listed_key_is_one_that_the_script_acts_on() -> None:
    text = SCRIPT.read_text() + SELECTION.read_text()
    names = {
        "Alt ↑": "ArrowUp",
        "Alt ↓": "ArrowDown",
        "Ctrl Enter": "Enter",
        "Esc": "Escape",
        "Enter": 'key === "Enter"',
        "Shift A": 'event.key === "A"',
        "Shift M": " M:",
        "Shift X": " X:",
        "Shift Z": " Z:",
        "Space": 'key === " "',
        "Shift Space": 'key === " "',
    }
    listed = re.findall(r'<th scope="row">(.*?)</th>', (ROOT / "templates/web/desk/editing/keys.html").read_text())
    assert len(listed) == 34
    for first, _, following in (line.partition(" then ") for line in listed):
        for key in re.findall("<kbd>(.+?)</kbd>", following):
            assert re.search(rf"\b{key.lower()}: \"", text), key
        for key in re.findall("<kbd>(.+?)</kbd>", first):
            if key.isdigit():
                assert f"{key}" in re.search(r"of \[([\d, ]+)\]", text)[1], key  # type: ignore[index]
            else:
                wanted = names.get(key, f'"{key}"' if not key.isalpha() else f" {key.lower()}:")
                assert wanted in text, key


def test_the_desk_runs_scripts_from_its_own_files_alone(week: SampleWeek) -> None:
    page = week.client().get(week.path)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    scripts = re.findall(r"<script[^>]*>", page.text)
    sources = [re.search(r'src="(/script/(\w+)-[0-9a-f]+\.js)" defer', script) for script in scripts]
    assert [source and source[2] for source in sources] == ["images", "selection", "desk"]
    assert not re.search(r"\son[a-z]+=", page.text)
    for url, name in re.findall(r'src="(/script/(\w+)-[0-9a-f]+\.js)"', page.text):
        served = week.client().get(url)
        assert served.mimetype == "text/javascript"
        files = (ROOT / "templates/web" / file for file in SCRIPT_FILES[name])
        assert served.text == strip_comment_lines("".join(file.read_text() for file in files))
        assert not re.search(r"(?m)^ *//", served.text), "comments are for whoever reads the source"
    assert re.findall(r"<script(?! type=\"application/ld\+json\">)", week.client().get("/").text) == []
