"""Settings pages: changes are saved to digest.toml and recorded, errors appear at their field, and the process applies them."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lxml import html as lxml_html
from sqlalchemy import select

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.app.settings.setting_changes import EDITABLE_TABLES, compare_send_times_of_schedules
from digest.app.subscribers.consent_texts import build_consent_text
from digest.edition.calendar.release_calendar import CalendarChange, ReleaseCalendar
from digest.installation.opened_installation import Installation
from digest.settings.environment_overrides import list_override_variables
from digest.store.models import AuditEntry, EditionState
from digest.timetable import parse_schedule_rule
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.consent.seals import verify_ledger
from subscribers.store import one_time_tokens, people
from tests.app.settings.test_brand_images import draw_logo
from tests.moments import DRAFTING as NOW
from tests.web.admin.conftest import SETTINGS

CONSENT_PAGE = "/admin/settings/consent"


@pytest.fixture
def filed(world: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    return move_settings_to_file(world, tmp_path)


def submit(client: Any, table: str, *, shown: str = "", **fields: str) -> Any:
    """Send the form of a table as its page has it, with some fields changed."""
    page = shown or client.get(f"/admin/settings/{table}").text
    tokens = {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("csrf_token", "fingerprint")}
    return client.post(f"/admin/settings/{table}", data=tokens | fields)


def write_section_fields(world: Any) -> dict[str, str]:
    """Give the fields of the sections' form, as they're saved."""
    return {
        f"{number}.{name}": str(number + 1 if name == "place" else getattr(section, name))
        for number, section in enumerate(world.install.settings.file.sections)
        for name in ("key", "title", "kind", "note", "most", "place")
    }


def audit_rows(world: Any) -> list[tuple[str, str, dict[str, Any]]]:
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act.like("%settings%")).order_by(AuditEntry.id))
        return [(row.act, row.subject, row.detail) for row in rows]


def test_a_saved_schedule_counts_at_once_and_the_log_has_what_was_before(filed: Any, tmp_path: Path) -> None:
    client = filed.signed_in_client("admin")
    answer = submit(client, "schedule", **{"send-day": "thu", "send-clock": "07:15"}, reminder_hours="4, 11")
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert ">Saved.</p>" in page
    assert "Send time: <del>Friday, 6:00 a.m.</del> <ins>Thursday, 7:15 a.m.</ins>" in page
    (restore,) = re.findall(r'href="([^"]+)">Restore earlier values…</a>', page)
    (note,) = re.findall(r"<div class=\"note\".*?</div>", client.get(unescape(restore)).text, re.DOTALL)
    assert "The fields have the values from before this change." in note
    assert re.findall(r'form="settings"[^>]*>([^<]+)<', note)[-1].startswith("Save ")
    assert filed.install.settings.file.schedule.send == "thu 07:15"
    assert (tmp_path / "digest.toml").read_text("utf-8") == SETTINGS.replace(
        '# send = "fri 06:00"  ', 'send = "thu 07:15"  '
    ).replace("[schedule]\n", "[schedule]\nreminder_hours = [4.0, 11.0]\n")
    before = {"send": "fri 06:00", "reminder_hours": [11.0]}
    after = {"send": "thu 07:15", "reminder_hours": [4.0, 11.0]}
    assert audit_rows(filed) == [("settings changed", "schedule", {"before": before, "after": after})]


def test_pages_with_texts_for_subscribers_tell_who_approves_them(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    sentence = "A change counts as your text, so someone else must approve the next edition.</p>"
    tables = ("publication", "branding", "sections", "sender", "schedule", "backup")
    for told in ([], ["publication", "branding", "sections", "sender"]):
        assert [table for table in tables if sentence in client.get(f"/admin/settings/{table}").text] == told
        filed.session_cookie("editor")  # before, no one else could approve


def test_subscribers_pages_and_every_hour_follow_a_saved_publication(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    assert submit(client, "publication", name="Port News", timezone="Asia/Tokyo").status_code == 303
    assert "Port News" in filed.client.get("/subscribe").text
    assert "Times are in Tokyo time." in filed.signed_in_client().get("/desk/calendar").text
    assert "One email a week, only if you signed up." in filed.client.get("/privacy").text
    days = {"send-day": "mon,thu", "send-clock": "06:00"}
    assert submit(client, "schedule", **days).status_code == 303
    assert "2 emails a week, only if you signed up." in filed.client.get("/privacy").text


def test_changed_words_of_consent_are_a_new_version_and_each_subscriber_keeps_their_own(filed: Any) -> None:
    client, shipped = filed.signed_in_client("admin"), build_consent_text(filed.install.settings).text
    assert "Current text. It becomes a new version when the first subscriber sees it." in client.get(CONSENT_PAGE).text
    refused = submit(client, "consent", text="Yes, send me {nmae} by mail.")
    assert (refused.status_code, "a placeholder; use only {name}, for" in refused.text) == (400, True)
    first = confirm_by_form(filed, "first@county.example")
    assert submit(client, "consent", text="Yes, {name} may write\r\nto me on Fridays.").status_code == 303
    second = confirm_by_form(filed, "second@county.example")
    changed = "Yes, HLS.Today may write to me on Fridays."
    for number, words, version in ((first, shipped, 1), (second, changed, 2)):
        record = client.get(f"/admin/readers/{number}").text
        assert f"Agreed to: “{words}” Consent text {version}." in unescape(record)
        with filed.database.write() as session:
            day = timedelta(days=1)
            token = one_time_tokens.issue_token(session, "my data", number, now=NOW, expires_at=NOW + day)
        assert words in unescape(filed.client.get(f"/my-data/{token}").text)
    page = unescape(client.get(CONSENT_PAGE).text)
    assert re.findall(r"<b>Version (\d)</b>, (current, )?first used", page) == [("2", "current, "), ("1", "")]
    with filed.database.read() as session:
        assert verify_ledger(session, filed.install.keys).sound
    assert submit(client, "consent", text="Yes, send me the weekly mail.").status_code == 303
    assert "include HLS.Today, so it" in client.get(CONSENT_PAGE).text


def test_the_standard_text_of_consent_is_in_its_field_and_stays_standard_until_a_word_changes(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    page = client.get(CONSENT_PAGE).text
    (text,) = (unescape(field) for field in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL))
    assert text == filed.install.settings.mail_frequency.consent
    assert submit(client, "consent", text=text).status_code == 303
    assert filed.install.settings.file.consent.text == ""
    answer = submit(client, "consent", text=text.replace("Yes, email", "Please email"))
    page = client.get(answer.location).text
    assert f"Consent text: <del>standard text</del> <ins>{text.replace('Yes, email', 'Please email')}</ins>" in page
    assert filed.install.settings.file.consent.text.startswith("Please email me {name}")


def confirm_by_form(world: Any, address: str) -> int:
    """Sign somebody up by form and link; give their number."""
    world.client.post("/subscribe", data={"email": address})
    folder = world.install.settings.outbox_folder / "notice"
    before = set(folder.glob("*.eml"))
    process_signup_requests(world.install, clock=lambda: NOW)
    send_due_transactional_emails(world.install, clock=lambda: NOW)
    mails = [file.read_text("ascii").replace("=\n", "") for file in set(folder.glob("*.eml")) - before]
    links = re.findall(r"/confirm/[\w-]{22}", "".join(mails))
    assert world.client.post(links[0]).status_code == 200
    with world.database.read() as session:
        number = people.find_person_number(session, world.install.keys, read_address(address))
    assert number is not None
    return number


def test_what_changes_nothing_leaves_no_row(filed: Any, tmp_path: Path) -> None:
    answer = submit(filed.signed_in_client("admin"), "publication", name="HLS.Today")
    assert answer.location == "/admin/settings/publication"
    assert ((tmp_path / "digest.toml").read_text("utf-8"), audit_rows(filed)) == (SETTINGS, [])


def test_a_wrong_value_is_answered_at_its_field_and_what_was_typed_stays(filed: Any, tmp_path: Path) -> None:
    answer = submit(filed.signed_in_client("admin"), "limits", send_per_hour="-5", domains_per_hour="gmail = 5")
    assert answer.status_code == 400
    assert re.search(r'id="send_per_hour"[^>]* value="-5"[^>]*aria-invalid="true"', answer.text)
    assert "Must be 0 or more" in answer.text
    assert "<code>gmail</code> isn’t a domain; use one such as news.example.org" in answer.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == SETTINGS
    assert audit_rows(filed) == [], "a form that is refused is no act"


def test_a_language_without_a_catalogue_is_refused_and_another_is_spoken_at_once(filed: Any, tmp_path: Path) -> None:
    client = filed.signed_in_client("admin")
    refused = submit(client, "publication", language="de")
    assert refused.status_code == 400
    assert "There’s no catalog for <code>de</code>: use one of en, fr" in refused.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == SETTINGS
    assert submit(client, "publication", language="fr").status_code == 303
    assert '<html lang="fr"' in filed.client.get("/subscribe").text


def test_languages_and_time_zones_can_be_searched_without_scripts(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    folder = tmp_path / "own" / "locale" / "es" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    folder.joinpath("digest.po").write_text('msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n', "utf-8")
    filed = move_settings_to_file(world, tmp_path, DIGEST_TEMPLATES=str(tmp_path / "own"))
    admin = filed.signed_in_client("admin")
    page = lxml_html.fromstring(admin.get("/admin/settings/publication").text)
    offered = {}
    for name in ("language", "timezone"):
        values = page.get_element_by_id(page.get_element_by_id(name).get("list"))
        offered[name] = {option.get("value"): option.get("label") for option in values}
    assert offered["language"] == {"en": "English", "es": "Spanish", "fr": "French"}
    assert (offered["timezone"]["Europe/Berlin"], offered["timezone"]["America/New_York"]) == ("Berlin", "New York")
    assert "Europe/Kiev" not in offered["timezone"], "each place once"
    assert submit(admin, "publication", timezone="Europe/Kiev").status_code == 303
    assert "<datalist" not in admin.get("/admin/settings/sender").text


def test_a_colleagues_change_meanwhile_is_not_lost(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    shown = client.get("/admin/settings/publication").text
    submit(client, "publication", tagline="By a colleague")
    answer = submit(client, "publication", shown=shown, tagline="By me")
    assert answer.status_code == 409
    assert "Someone else has made changes since you opened the page" in answer.text
    assert re.search(r'id="tagline"[^>]* value="By me"', answer.text), "what was typed stays"
    assert "Saved value: By a colleague" in answer.text
    assert answer.text.count("Saved value:") == 1
    assert filed.install.settings.file.publication.tagline == "By a colleague"


@pytest.mark.parametrize(
    ("table", "fields", "said"),
    [
        ("publication", {"name": " "}, "Can’t be empty"),
        ("schedule", {"collect": "every 1s"}, "is too often for other people’s sites. Use 5m or more"),
        ("limits", {"domains_per_hour": "a b = 5"}, "A b: <code>a b</code> isn’t a domain"),
        (
            "sections",
            {"6.title": "Ports", "6.kind": "stories", "6.most": "5"},
            "key: must be a key such as border-security",
        ),
        ("sections", {"0.key": "featured", "0.title": "", "0.kind": "featured"}, "title: can’t be empty"),
    ],
)
def test_what_would_break_the_publication_is_not_saved(
    filed: Any, tmp_path: Path, table: str, fields: dict[str, str], said: str
) -> None:
    answer = submit(filed.signed_in_client("admin"), table, **fields)
    assert (answer.status_code, said in answer.text) == (400, True), answer.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == SETTINGS


def test_sections_are_put_in_another_order_left_out_and_added(filed: Any) -> None:
    client, fields = filed.signed_in_client("admin"), write_section_fields(filed)
    sections = filed.install.settings.file.sections
    fields |= {f"{number}.place": str(len(sections) - number) for number in range(len(sections))}
    fields |= {"0.out": "1", "1.most": "3"}
    new = {"key": "ports", "title": "Ports", "kind": "stories", "most": "4", "place": "1"}
    fields |= {f"6.{name}": value for name, value in new.items()} | {"6.topics": "Maritime security, Ports"}
    wrong = submit(client, "sections", **fields | {"1.most": "many"})
    assert wrong.status_code == 400
    assert "most: must be a whole number" in wrong.text
    assert submit(client, "sections", **fields).status_code == 303
    now = filed.install.settings.file.sections
    assert [section.key for section in now] == [
        *("opportunities", "ports", "events", "products", "topics", "most-read")
    ]
    assert (now[1].topics, now[5].most) == (["Maritime security", "Ports"], 3)
    [(_, _, detail)] = [row for row in audit_rows(filed) if row[0] == "settings changed"]
    assert (detail["before"]["featured"]["place"], "featured" in detail["after"]) == (1, False)
    shown = client.get("/admin/settings/sections").text
    recent = " ".join(re.sub(r"<[^>]+>", " ", shown.partition("<h2>Recent changes</h2>")[2]).split())
    assert "Most read, Maximum stories: default 3" in recent
    assert "Section “Featured”: removed" in recent
    assert "Section “Ports”: added" in recent
    assert "{" not in recent
    logged = client.get("/admin/audit?what=settings").text
    assert "Most read, Maximum stories: default → 3" in logged
    assert "Section “Featured”: removed" in logged


def test_the_audit_log_names_settings_as_their_page_does(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    assert submit(client, "sender", postal_address="9 Example Street").status_code == 303
    for path in ("/admin/audit", "/admin/settings/sender"):
        assert "Postal address: " in client.get(path).text


def test_recent_changes_show_limits_by_domain(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    for limit in (40, 50):
        assert submit(client, "limits", domains_per_hour=f"gmail.com = {limit}").status_code == 303
    recent = client.get("/admin/settings/limits").text.partition("<h2>Recent changes</h2>")[2]
    words = " ".join(re.sub(r"<[^>]+>", " ", recent).split())
    assert "gmail.com = 40 gmail.com = 50" in words
    assert "Section" not in words


@pytest.mark.parametrize("title", ["Opportunities", "Calls"])
def test_the_key_of_a_section_is_not_changed_because_subscribers_choices_name_it(filed: Any, title: str) -> None:
    sections = filed.install.settings.file.sections
    fields = {
        f"{number}.{name}": str(getattr(section, name))
        for number, section in enumerate(sections)
        for name in ("key", "title", "kind", "note", "most")
    }
    renamed = {"5.key": "opps", "5.title": title}
    answer = submit(filed.signed_in_client("admin"), "sections", **fields | renamed)
    assert answer.status_code == 400
    assert "be changed from <code>opportunities</code>, because subscribers’ choices name it" in answer.text
    assert filed.install.settings.file.sections == sections


def test_the_dates_of_another_schedule_are_shown_and_nothing_is_saved(filed: Any, tmp_path: Path) -> None:
    client = filed.signed_in_client("admin")
    answer = submit(client, "schedule", **{"send-day": "thu", "send-clock": "06:00", "act": "preview"})
    assert answer.status_code == 200
    assert "Check the dates before you save." in answer.text
    assert "10 dates change" in answer.text
    assert '<h2 tabindex="-1" autofocus>Next' in answer.text, "the keyboard goes on from the dates"
    assert '<option value="thu" selected>' in answer.text
    assert ((tmp_path / "digest.toml").read_text("utf-8"), audit_rows(filed)) == (SETTINGS, [])


def test_a_schedule_that_drafts_long_before_it_sends_is_pointed_out(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    assert "before they’re sent" not in client.get("/admin/settings/schedule").text
    answer = submit(client, "schedule", **{"send-day": "tue", "send-clock": "06:00", "act": "preview"})
    assert "Editions would be drafted 4 days before they’re sent:" in answer.text
    submit(client, "schedule", **{"send-day": "tue", "send-clock": "06:00"})
    assert "Editions are drafted 4 days before they’re sent:" in client.get("/admin/settings/schedule").text


def test_dates_are_put_side_by_side_week_by_week() -> None:
    skipped = CalendarChange(datetime(2026, 12, 25, tzinfo=UTC).date(), None, True, "staff 1", NOW)
    calendar = ReleaseCalendar(parse_schedule_rule("fri 06:00"), ZoneInfo("America/New_York"), (skipped,))
    pairs = compare_send_times_of_schedules(calendar, parse_schedule_rule("thu 06:00"), NOW)
    days = [[side and (side.release_at.day, side.is_skipped) for side in (pair.now, pair.then)] for pair in pairs]
    assert days[:2] == [[(20, False), None], [(27, False), (26, False)]]
    assert [(25, True), (24, False)] in days
    assert not any(pair.is_changed for pair in compare_send_times_of_schedules(calendar, calendar.rule, NOW))


def test_what_the_environment_decides_and_what_the_doctor_says_stand_beside_it(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    publication, sender = (client.get(f"/admin/settings/{table}").text for table in ("publication", "sender"))
    assert "https://news.example.org</b>" in publication
    assert "DIGEST_BASE_URL, set in <code>digest.env</code> or the environment" in publication
    assert "DIGEST_MAIL_URL, default" in sender
    assert 'name="base_url"' not in publication


def test_a_missing_postal_address_is_entered_on_the_page_and_never_emptied(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    filed = move_settings_to_file(world, tmp_path, "[sender]\n")
    client = filed.signed_in_client("admin")
    page = client.get("/admin/settings/sender").text
    assert "No postal address is set (sender.postal_address), so editions can’t be approved. Enter a street" in page
    assert "Under [sender]" not in page
    assert submit(client, "sender", postal_address="1 Main St, Springfield").status_code == 303
    refused = submit(client, "sender", postal_address=" ")
    assert (refused.status_code, "The law requires a postal address" in refused.text) == (400, True)
    assert filed.install.settings.file.sender.postal_address == "1 Main St, Springfield"


def test_the_list_id_is_changed_only_after_a_second_question(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    asked = submit(client, "sender", list_id="other.news.example.org")
    assert (asked.status_code, "will stop working" in asked.text) == (400, True)
    assert 'name="list_id-sure"' in asked.text
    assert filed.install.settings.file.sender.list_id == "weekly.news.example.org"
    answer = submit(client, "sender", shown=asked.text, list_id="other.news.example.org", **{"list_id-sure": "1"})
    assert answer.status_code == 303
    assert filed.install.settings.file.sender.list_id == "other.news.example.org"
    assert submit(client, "sender", list_id="other.news.example.org", name="Desk").status_code == 303


def test_the_sender_of_an_edition_that_goes_out_stays(filed: Any) -> None:
    filed.edition(state=EditionState.SENDING, release_at=NOW - timedelta(hours=1))
    client = filed.signed_in_client("admin")
    answer = submit(client, "sender", name="Another")
    assert (answer.status_code, "The sender can’t be changed while an edition is being sent" in answer.text) == (
        409,
        True,
    )
    assert filed.install.settings.file.sender.name == "HLS.Today"


def test_without_a_file_nothing_can_be_saved_and_the_page_says_so(world: Any) -> None:
    client = world.signed_in_client("admin")
    assert "is running without a settings file" in client.get("/admin/settings/approval").text
    assert submit(client, "approval", approvers="2").status_code == 409
    assert client.get("/admin/settings/retention").status_code == 404
    assert client.get("/admin/settings").location == "/admin/settings/publication"


def test_editors_change_no_setting(filed: Any) -> None:
    assert filed.desk.get("/admin/settings/approval").status_code == 403


def test_the_look_is_refused_at_its_colour_saved_and_worn_by_subscribers_pages(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    wrong = submit(client, "branding", accent="#F0D000", label="#0B4F8B")
    assert wrong.status_code == 400
    said = re.findall(r'<span class="err said-line" id="(\w+)-said">([^<]+)<', wrong.text)
    assert [field for field, _ in said] == ["accent"], "the label is looked at beside a readable accent only"
    assert (
        "#F0D000 on the page background #FFFFFF has a contrast ratio of 1.5, and at least 4.5 is required; #"
        in said[0][1]
    )
    assert re.search(r'id="accent"[^>]* value="#F0D000"[^>]*aria-invalid="true"', wrong.text)
    assert submit(client, "branding", accent="#00606b", headings="sans", bar="0", bar_color="accent").status_code == 303
    branding = filed.install.settings.file.branding
    assert (branding.accent, branding.headings, branding.bar, branding.bar_color) == ("#00606B", "sans", 0, "accent")
    assert client.get("/admin/settings/branding").text.count('fill="#00606B"') > 1


def upload_logos(client: Any, **files: tuple[str, bytes]) -> Any:
    page = client.get("/admin/settings/branding").text
    tokens = {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("csrf_token", "fingerprint")}
    data = {name: (io.BytesIO(body), file_name) for name, (file_name, body) in files.items()}
    return client.post("/admin/settings/branding/logos", data=tokens | data)


def test_a_logo_is_uploaded_looked_at_and_replaced(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    light, dark = draw_logo("#00606B"), draw_logo("#6FD0DB")
    alone = upload_logos(client, logo=("Our Mark.png", light))
    assert (alone.status_code, "one for dark screens" in alone.text) == (400, True)
    drawn = upload_logos(
        client, logo=("mark.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), logo_dark=("d.png", dark)
    )
    assert (drawn.status_code, "show SVG files or web pages" in drawn.text) == (400, True)
    assert filed.install.settings.file.branding.logo == ""
    assert upload_logos(client, logo=("Our Mark.png", light), logo_dark=("Our Mark.png", dark)).status_code == 303
    branding, logo = filed.install.settings.file.branding, filed.install.settings.logo
    assert re.fullmatch(r"Our-Mark-[0-9a-f]{64}\.png", branding.logo)
    assert logo is not None
    page = client.get("/admin/settings/branding").text
    assert f'<image href="/media/{logo.light}" x="16" y="14" width="112" height="30"/>' in page
    assert f"/media/{logo.dark}" in page
    assert upload_logos(client, logo_dark=("both.png", light)).status_code == 400, "a picture is kept by one name"
    assert upload_logos(client, logo=("both.png", dark)).status_code == 400
    assert upload_logos(client, logo_dark=("new.png", draw_logo("#FFFFFF"))).status_code == 303
    assert filed.install.settings.logo is not None
    assert filed.install.settings.logo.light == logo.light
    assert filed.install.settings.logo.dark != logo.dark
    assert filed.desk.post("/admin/settings/branding/logos").status_code in {400, 403}


def test_what_the_environment_sets_is_locked_and_named(world: Any, tmp_path: Path, move_settings_to_file: Any) -> None:
    environment = {
        "DIGEST_PUBLICATION__NAME": "Port News",
        "DIGEST_SECTIONS": '[{key = "news", title = "News", kind = "stories"}]',
    }
    locked = move_settings_to_file(world, tmp_path, **environment)
    client = locked.signed_in_client("admin")
    page = client.get("/admin/settings/publication").text
    (field,) = re.findall(
        r'<fieldset disabled>\s*<div class="fld"><label class="lab" for="name">.*?</fieldset>', page, re.DOTALL
    )
    assert 'value="Port News"' in field
    assert "Set in the environment with <code>DIGEST_PUBLICATION__NAME</code>. Change it there and restart." in field
    assert page.count("<fieldset disabled>") == 1
    before = (tmp_path / "digest.toml").read_bytes()
    refused = submit(client, "publication", name="Other News")
    assert (refused.status_code, "DIGEST_PUBLICATION__NAME" in refused.text) == (409, True)
    assert (tmp_path / "digest.toml").read_bytes() == before
    assert submit(client, "publication", tagline="All of it").status_code == 303
    assert locked.install.settings.file.publication.name == "Port News"
    sections = client.get("/admin/settings/sections").text
    assert "This list is set in the environment with <code>DIGEST_SECTIONS</code>." in sections
    assert sections.index("<fieldset disabled>") < sections.index('name="0.title"')
    assert submit(client, "sections", **write_section_fields(locked) | {"0.title": "Others"}).status_code == 409


def test_every_key_on_a_page_is_locked_by_its_variable(filed: Any) -> None:
    variables = {name: path for name, (path, _) in list_override_variables().items() if path[0] in EDITABLE_TABLES}
    settings = filed.install.settings.model_copy(update={"environment_overrides": dict.fromkeys(variables, "x")})
    locked = replace(filed, app=create_app(Installation(settings, filed.database), clock=lambda: NOW))
    client = locked.signed_in_client("admin")
    for table in EDITABLE_TABLES:
        page = client.get(f"/admin/settings/{table}").text
        shown = set(re.findall(r"[Tt]he environment (?:sets this list )?with <code>(\w+)</code>", page))
        keys = set(re.findall(r'name="(\w+?)(?:-day)?"', page))
        assert shown
        assert shown == {name for name, (at, *key) in variables.items() if at == table and (not key or key[0] in keys)}
        assert re.search(r'form="settings" disabled>Save', page)


def test_the_sign_up_forms_code_is_that_of_the_docs_and_signs_up(filed: Any) -> None:
    admin = filed.signed_in_client("admin")
    assert 'href="/admin/settings/sign-up-form"' in admin.get("/admin/settings/publication").text
    page = admin.get("/admin/settings/sign-up-form").text
    assert 'href="/admin/settings/sign-up-form" aria-current="page"' in page
    assert "The form’s other texts are fixed." in page
    website, wordpress = (unescape(text) for text in re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL))
    docs = (Path(__file__).parents[4] / "docs" / "embedding.md").read_text("utf-8")
    (code,) = re.findall(r"```html\n(.*?)\n```", docs, re.DOTALL)
    assert website == code
    assert code in wordpress
    assert wordpress.startswith("add_filter( 'the_content'")
    fields = dict(re.findall(r'name="(\w+)"(?: value="(\w*)")?', website))
    answer = filed.client.post("/subscribe", data=fields | {"email": "bo@example.org"})
    assert "Check your inbox" in answer.text
    assert "<li>Maritime security</li>" in page
    submit(admin, "preferences", topics="off")
    page = admin.get("/admin/settings/sign-up-form").text
    assert 'href="/admin/settings/sign-up-form" aria-current="page"' in page
    assert "The form’s other texts are fixed." in page
    assert "doesn’t offer topics" in page
