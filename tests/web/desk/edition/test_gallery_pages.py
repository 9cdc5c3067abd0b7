"""The gallery: every email as subscribers and the team see it, in every view, for those who can open it."""

import re

from digest.app.editions.sample_emails import STAFF_MAILS, SUBSCRIBER_MAILS
from digest.web.desk.edition.preview_pages import GALLERY_MODES
from tests.web.desk.sample_week import SampleWeek


def test_every_mail_has_a_page_and_a_body_in_every_view(week: SampleWeek) -> None:
    client = week.client()
    listed = client.get("/desk/mails/").text
    for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS):
        assert f'href="/desk/mails/{mail.key}?view=phone"' in listed
        page = client.get(f"/desk/mails/{mail.key}?view=dark").text
        assert f'src="/desk/mails/{mail.key}/frame?view=dark"' in page
        subject = re.search(r"Subject: <b>([^<]+)</b>", page)
        assert subject
        assert subject[1].strip()
        body = client.get(f"/desk/mails/{mail.key}/frame?view=phone")
        assert body.status_code == 200
        assert "sandbox" in body.headers["Content-Security-Policy"]
    assert client.get("/desk/mails/no-such-mail").status_code == 404


def test_a_view_changes_the_scheme_the_pictures_or_the_part(week: SampleWeek) -> None:
    client = week.client()
    bodies = {view.key: client.get(f"/desk/mails/welcome/frame?view={view.key}") for view in GALLERY_MODES}
    assert bodies["text"].mimetype == "text/plain"
    assert "(min-width:0)" in bodies["dark"].text
    assert "(min-width:0)" not in bodies["phone"].text
    assert "img-src 'none'" in bodies["noimages"].headers["Content-Security-Policy"]


def test_only_the_staff_see_it(week: SampleWeek) -> None:
    stranger = week.app.test_client()
    assert {stranger.get(path).status_code for path in ("/desk/mails/", "/desk/mails/welcome/frame")} == {303}
