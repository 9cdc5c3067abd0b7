"""Two editors change the same text: the second sees both versions of everything, and loses no word."""

import re
from html import unescape
from typing import Any

import pytest

from tests.web.desk.sample_week import SampleWeek


def shown_text(html: str) -> str:
    """Give what a page says, without its marks."""
    main = html[html.index("<h1>") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", "", main)).split())


def read_forms(html: str, button: str) -> list[dict[str, str]]:
    """Give the hidden fields of the forms with a button, in order."""
    forms = [form for form in re.findall(r"<form.*?</form>", html, re.DOTALL) if f">{button}</button>" in form]
    return [{k: unescape(v) for k, v in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', f)} for f in forms]


class TwoEditors:
    """Dana and Sam with the first story open, as it was before either changed it."""

    def __init__(self, week: SampleWeek) -> None:
        self.week, self.anchor = week, week.anchors("featured")[0]
        entry = week.entry("featured", 0)
        self.was = {f"was-{name}": entry[name] for name in ("headline", "summary")} | {"was-kicker": "", "was-note": ""}

    def save(self, editor: str, seq: int | str = 0, path: str = "", **fields: str) -> Any:
        """Send the open story's form."""
        was = {name: text for name, text in self.was.items() if name.removeprefix("was-") in fields}
        form = {"seq": str(seq), "open": self.anchor, **was, **fields}
        return self.week.client(editor).post(self.week.path + (path or f"/story/{self.anchor}"), data=form)

    def choose(self, editor: str, fields: dict[str, str], path: str = "", **written: str) -> Any:
        """Press a button of the page that shows both."""
        path = path or f"/story/{self.anchor}"
        return self.week.client(editor).post(self.week.path + path, data=fields | written)

    def clipboard(self, editor: str) -> str:
        """Give what an editor's clipboard says."""
        shown = self.week.client(editor).get(f"{self.week.path}?panel=clipboard").text
        found = re.search(r'<details class="fold" id="clipboard".*?</details>', shown, re.DOTALL)
        return unescape(found[0]) if found else ""


@pytest.fixture
def two(week: SampleWeek) -> TwoEditors:
    """Give the two editors."""
    return TwoEditors(week)


def test_all_that_somebody_else_changed_is_shown_and_the_rest_of_the_form_is_saved(two: TwoEditors) -> None:
    two.save("sam", headline="Sam's headline", summary="Sam's summary.")
    answer = two.save("dana", headline="Dana's headline", summary="Dana's summary.", kicker="Drills")
    assert answer.status_code == 409
    said = shown_text(answer.text)
    assert said.startswith("Two versions of the headline and the summary")
    for words in ("Sam's headline", "Sam's summary.", "Dana's headline", "Dana's summary.", two.was["was-headline"]):
        assert words in said
    assert "You also changed the kicker. This is saved." in said
    entry = two.week.entry("featured", 0)
    assert (entry["headline"], entry["summary"], entry["kicker"]) == ("Sam's headline", "Sam's summary.", "Drills")
    headline, _ = read_forms(answer.text, "Use my version")
    rest = two.choose("dana", headline)
    assert rest.status_code == 409, "the summary is still to be decided"
    assert shown_text(rest.text).startswith("Two versions of one summary")
    entry = two.week.entry("featured", 0)
    assert (entry["headline"], entry["summary"]) == ("Dana's headline", "Sam's summary.")
    assert "Dana's summary." in two.clipboard("dana")
    assert "Dana's headline" not in two.clipboard("dana"), "it stands in the edition"
    assert not two.clipboard("sam")
    (summary,) = read_forms(rest.text, "Use my version")
    assert two.choose("dana", summary).status_code == 303
    assert two.week.entry("featured", 0)["summary"] == "Dana's summary."


def test_who_keeps_a_colleagues_version_decides_the_rest_and_finds_their_own_on_their_clipboard(
    two: TwoEditors,
) -> None:
    two.save("sam", headline="Sam's headline", summary="Sam's summary.")
    answer = two.save("dana", headline="Dana's headline", summary="Dana's summary.")
    keep_headline, _ = read_forms(answer.text, "Keep Sam\u2019s version")
    rest = two.choose("dana", keep_headline)
    assert shown_text(rest.text).startswith("Two versions of one summary")
    assert two.week.entry("featured", 0)["headline"] == "Sam's headline"
    assert "Dana's headline" in two.clipboard("dana")
    assert "Keep Sam\u2019s version</a>" in rest.text


def test_a_third_version_takes_the_place_of_both(two: TwoEditors) -> None:
    two.save("sam", headline=f"{two.was['was-headline']} now")
    answer = two.save("dana", headline="Dana's headline")
    assert "<ins>now</ins>" in answer.text
    assert "New words are underlined." in answer.text
    (third,) = read_forms(answer.text, "Use the new version")
    assert two.choose("dana", third, headline="A headline of both").status_code == 303
    assert two.week.headlines("featured")[0] == "A headline of both"


def test_a_text_that_was_begun_on_an_older_state_than_its_page_says_so(two: TwoEditors) -> None:
    two.save("sam", summary="Sam's summary.")
    last = two.week.state.last_seq
    answer = two.save("dana", last, **{"summary": "Dana's summary.", "seq-summary": "0"})
    assert answer.status_code == 409
    assert two.week.entry("featured", 0)["summary"] == "Sam's summary."
    assert two.save("dana", last, **{"summary": "Dana's.", "seq-summary": "x"}).status_code == 303


def test_both_notes_are_shown(two: TwoEditors) -> None:
    two.save("sam", note="From Sam.")
    said = shown_text(two.save("dana", note="From Dana.").text)
    assert said.startswith("Two versions of one note Sam changed the note of Featured 1")
    assert "From Sam." in said
    assert "From Dana." in said


def test_both_subjects_are_shown_with_what_stood_before(two: TwoEditors) -> None:
    before = {"was-subject": "Stood", "was-intro": "Stood too."}
    for editor in ("sam", "dana"):
        fields = {"subject": f"{editor}'s subject", "intro": f"{editor}'s intro", **before}
        answer = two.save(editor, path="/head", **fields)
    said = shown_text(answer.text)
    assert said.startswith("Two versions of the subject and the intro")
    assert all(f"{editor}'s {field}" in said for editor in ("sam", "dana") for field in ("subject", "intro"))
    assert "Before either change: “Stood”." in said
    assert "underlined" not in said


def test_both_blocks_are_shown_and_none_is_taken_out_by_a_choice(two: TwoEditors) -> None:
    fields = {"kind": "sponsor", "headline": "Radios", "name": "Anvil", "text": "Ours.", "url": ""}
    two.save("sam", path="/block/b1", **fields)
    seq = two.week.state.last_seq
    two.save("sam", seq, path="/block/b1", **fields | {"text": "Sam's words."})
    answer = two.save("dana", seq, path="/block/b1", **fields | {"text": "Dana's words.", "name": "Bolt"})
    said = shown_text(answer.text)
    assert said.startswith("Two versions of one labeled block")
    for words in (
        "Text: Sam's words.",
        "Sponsor or organization: Anvil",
        "Text: Dana's words.",
        "Bolt",
        "Text: “Ours.”",
    ):
        assert words in said
    assert "Dana's words." in two.clipboard("dana")
    (mine,) = read_forms(answer.text, "Use my version")
    assert two.choose("dana", mine, path="/block/b1").status_code == 303
    assert "Dana's words." in unescape(two.week.client().get(f"{two.week.path}?open=block-b1").text)
    assert not two.clipboard("dana")


def test_who_wrote_both_versions_in_two_windows_is_told_so(two: TwoEditors) -> None:
    two.save("dana", headline="In the first window")
    said = shown_text(two.save("dana", headline="In the second window").text)
    assert said.startswith("Two versions of one headline You changed the headline of Featured 1")
    assert "in another window" in said
    assert "You and Dana" not in said


def test_two_who_move_one_story_are_told_who_did_what(two: TwoEditors) -> None:
    move = {"act": f"move {two.anchor}", "position": "1"}
    two.save("sam", path="/act", section="topics", **move)
    answer = two.save("dana", path="/act", section="events", **move)
    said = shown_text(answer.text)
    assert said.startswith("You and Sam changed the same")
    assert "to Topics" in said
    assert "Events" in said
    (mine,) = read_forms(answer.text, "Use my version")
    assert two.choose("dana", mine, path="/act").status_code == 303
    assert two.week.anchors("events")[0] == two.anchor
