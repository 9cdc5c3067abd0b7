"""The editors' pages checked by html-validate while an edition is arranged, approved, and edited again."""

from pathlib import Path

import pytest

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editions.edition_status import read_edition_status
from tests.actors import EDITOR
from tests.html_judge import find_html_faults
from tests.web.desk.sample_week import SampleWeek, later


@pytest.mark.node
def test_the_judge_of_html_finds_nothing_on_the_pages_of_the_desk(week: SampleWeek, tmp_path: Path) -> None:
    client, (first, second, third, *_) = week.client(), week.anchors("featured")
    untouched = {path: client.get(week.path + path).text for path in ("", "/test")}
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    untouched["/approved"] = client.get(week.path).text
    untouched["/asked"] = week.act(f"drop {third}", supersedes="").text
    week.act(f"drop {third}")
    week.act(f"pin {first}", "sam")
    week.act(f"under {week.anchors('topics')[0]}", main=second)
    fields = {
        "headline": "Four <b>counties</b> & “radios”",
        "was-headline": "",
        "summary": "",
        "was-summary": "It was.",
    }
    client.post(f"{week.path}/story/{second}", data=fields)
    client.post(f"{week.path}/head", data={"subject": "What silence costs", "was-subject": ""})
    client.post(f"{week.path}/block/block-9", data={"kind": "sponsor", "headline": "A & B", "name": "Anvil"})
    client.post(f"{week.path}/clipboard", data={"keep": first})
    approval_overviews.send_back_edition(week.installation, week.name, "The lead is <old>.", actor=EDITOR, now=later())
    edition = (
        *(f"?open={second}&filter=all", "?open=head", "?open=own", "?open=block-block-9", "?open=block-new"),
        *(f"?panel={panel}&about={second}" for panel in ("move", "merge")),
        *("/approve", "/history?moment=1", "/versions/1", "/preview?view=aloud", "/preview?variants=yes"),
    )
    desk = ("/desk/calendar", "/desk/sent", "/desk/sources", "/desk/keys", "/desk/mails/", "/desk/security")
    paths = [*(week.path + path for path in edition), *desk, f"/desk/preview/{week.name}/inbox"]
    answers = {path: client.get(path) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
    pages = {path: answer.text for path, answer in answers.items()}
    # A button that sends its form need not say so: the edition's page has hundreds, and is to be light.
    assert find_html_faults(untouched | pages, tmp_path, "html-validate-desk.json") == ""
