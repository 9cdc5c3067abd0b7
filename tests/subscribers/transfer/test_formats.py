import contextlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.cli.subscribers.import_export import import_list
from subscribers.consent.preferences import Preferences
from subscribers.import_names import PLAIN_LIST
from subscribers.transfer.formats import (
    EXPORT_FORMATS,
    ColumnLayout,
    ColumnMappingError,
    ColumnMeaning,
    ExportFormat,
    ImportedSubscriberStatus,
    assign_column_meanings,
    list_column_meanings,
    normalize_heading,
    recognize_layout,
)
from subscribers.transfer.import_report import find_likely_domain
from subscribers.transfer.rows import PREFERENCE_READERS, ImportRow, RowError, is_blank_row, parse_row, parse_row_time
from tests.conftest import ROOT
from tests.moments import AFTER_RELEASE as NOW

MAILCHIMP = (
    "Email Address,First Name,Last Name,Address,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,"
    "LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES,TAGS"
)
MAILPOET = (
    "Email,First name,Last name,Subscription IP,Subscription time,Confirmation time,Confirmation IP,"
    "List status,Global status,List"
)
LISTMONK = "uuid,email,name,attributes,status,created_at,updated_at"
GHOST = (
    "id,email,name,note,subscribed_to_emails,complimentary_plan,stripe_customer_id,created_at,deleted_at,labels,tiers"
)
SUBSTACK = "email,active_subscription,expiry,plan,email_disabled,created_at,first_payment_at"
BUTTONDOWN = "email_address,notes,metadata,tags,type,source,creation_date"

BEEHIIV = "email,status,created_at,subscription_tier,utm_source,utm_channel,referring_site"
KIT = "id,first_name,email_address,state,created_at,tags"
CONSTANT_CONTACT = (
    "Email address,First name,Last name,Email status,Email permission status,Email update source,Confirmed Opt-Out Date,"
    "Confirmed Opt-Out Source,Email Lists,Tags,Source Name,Created At,Updated At"
)
GOVDELIVERY = "Contact,Origin,Location,Location Type,Subscription Created"
GOVDELIVERY_DELETED = (
    "Date Deleted,Date Created,Days Subscribed,Country Code,Destination,Deletion Reason,Deleted By,Subscriptions Count"
)


def _read(headings: str, *, name: str = "", **fields: str) -> ImportRow:
    names = headings.split(",")
    layout = recognize_layout(names, file_name=name)
    assert layout is not None
    row = dict.fromkeys(names, "") | {key.replace("__", " "): value for key, value in fields.items()}
    return parse_row(layout, [row[each] for each in names], 2, now=NOW)


@pytest.mark.parametrize(
    ("headings", "origin", "email"),
    [
        (MAILCHIMP, "Mailchimp", "Email Address"),
        ("Email Address,First Name,UNSUB_TIME,UNSUB_REASON", "Mailchimp", "Email Address"),
        (MAILPOET, "MailPoet", "Email"),
        (LISTMONK, "listmonk", "email"),
        (GHOST, "Ghost", "email"),
        (SUBSTACK, "Substack", "email"),
        (BUTTONDOWN, "Buttondown", "email_address"),
        (BEEHIIV, "beehiiv", "email"),
        (KIT, "Kit", "email_address"),
        (CONSTANT_CONTACT, "Constant Contact", "Email address"),
        (GOVDELIVERY, "GovDelivery", "Contact"),
        (GOVDELIVERY_DELETED, "GovDelivery", "Destination"),
        ("E-Mail-Adresse,Vorname,OPTIN_TIME,LEID", "Mailchimp", "E-Mail-Adresse"),
        ("Name,E-Mail", PLAIN_LIST, "E-Mail"),
        ("\ufeffEMAIL", PLAIN_LIST, "\ufeffEMAIL"),
        ("address,city", PLAIN_LIST, "address"),
    ],
)
def test_each_service_is_known_by_its_columns(headings: str, origin: str, email: str) -> None:
    layout = recognize_layout(headings.split(","))
    assert layout is not None
    assert (layout.origin, headings.split(",")[layout.email]) == (origin, email)


@pytest.mark.parametrize("form", EXPORT_FORMATS, ids=lambda form: form.origin)
def test_the_docs_and_the_help_name_each_format_and_its_headings(form: ExportFormat) -> None:
    """A format is declared in `formats.toml`; what is left out elsewhere is named here."""
    assert form.origin in (import_list.help or ""), f"digest subscribers import --help doesn't name {form.origin}"
    rows = (ROOT / "docs/importing.md").read_text("utf-8").splitlines()
    described = [row.split("|") for row in rows if row.startswith(f"| {form.origin} |")]
    assert len(described) == 1, f"docs/importing.md has no row for {form.origin}"
    named = {normalize_heading(heading) for heading in re.findall("`([^`]+)`", described[0][2])}
    assert named == form.address | form.required | form.any_of, f"the headings of {form.origin} in docs/importing.md"


def _layout_of_bare_list(address_column: int, *, width: int) -> ColumnLayout:
    return ColumnLayout(PLAIN_LIST, {ColumnMeaning.ADDRESS: (address_column,)}, width, has_heading=False)


@pytest.mark.parametrize(
    ("headings", "meaning"),
    [
        (("Consent date", "Opt-in date", "Einwilligung am", "Date de consentement"), ColumnMeaning.CONFIRMED_AT),
        (("Einwilligungsdatum", "Fecha de consentimiento", "Bestätigt am"), ColumnMeaning.CONFIRMED_AT),
        (("Date d’inscription", "Anmeldedatum", "Signup time"), ColumnMeaning.REQUESTED_AT),
        (("Datum der Einwilligung", "Heure du consentement", "Hora del consentimiento"), ColumnMeaning.CONFIRMED_AT),
        (("Datum der Anmeldung", "Date de l’inscription", "Fecha de alta"), ColumnMeaning.REQUESTED_AT),
        (("Anmeldung über", "Inscrit via", "Origen de la suscripción", "Signup source"), ColumnMeaning.ASKED_WHERE),
        (("IP-Adresse", "Adresse IP", "Dirección IP"), ColumnMeaning.REQUESTED_IP),
        (("TAGS", "Schlagwörter", "Étiquettes", "Etiquetas"), ColumnMeaning.TAGS),
    ],
)
def test_headings_are_recognized_in_four_languages(headings: tuple[str, ...], meaning: ColumnMeaning) -> None:
    for heading in headings:
        layout = recognize_layout(["email", heading])
        assert layout is not None
        assert list_column_meanings(layout) == (ColumnMeaning.ADDRESS, meaning), heading


def test_a_list_without_headings_is_known_by_an_address_in_its_first_row() -> None:
    assert recognize_layout(["ada@example.org"]) == _layout_of_bare_list(0, width=1)
    assert recognize_layout(["Ada", "ada@example.org"]) == _layout_of_bare_list(1, width=2)
    assert recognize_layout(["name", "city"]) is None
    assert recognize_layout([]) is None


def test_evidence_of_mailchimp_is_read() -> None:
    row = _read(
        MAILCHIMP,
        Email__Address="Ada@Example.org",
        OPTIN_TIME="2019-04-05 10:00:00",
        OPTIN_IP="192.0.2.1",
        CONFIRM_TIME="2019-04-05 10:01:00",
        CONFIRM_IP="2001:db8::1",
    )
    assert row.address.mailbox == "Ada@example.org"
    assert (row.status, row.requested_ip, row.confirmed_ip) == (
        ImportedSubscriberStatus.SUBSCRIBED,
        "192.0.2.1",
        "2001:db8::1",
    )
    assert row.confirmed_at == datetime(2019, 4, 5, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("subscribed_segment_export_1a.csv", ImportedSubscriberStatus.SUBSCRIBED),
        ("unsubscribed_segment_export_1a.csv", ImportedSubscriberStatus.LEFT),
        ("cleaned_segment_export_1a.csv", ImportedSubscriberStatus.BOUNCED),
        ("nonsubscribed_segment_export_1a.csv", ImportedSubscriberStatus.UNCONFIRMED),
    ],
)
def test_a_mailchimp_file_says_in_its_name_what_it_holds(name: str, claim: ImportedSubscriberStatus) -> None:
    row = _read(MAILCHIMP, name=name, Email__Address="ada@example.org", CONFIRM_TIME="2019-04-05 10:01:00")
    assert row.status is claim
    assert (row.confirmed_at is not None) == (claim is ImportedSubscriberStatus.SUBSCRIBED)


@pytest.mark.parametrize(
    ("headings", "fields", "claim"),
    [
        ("Email Address,UNSUB_TIME", {"UNSUB_TIME": "2020-01-01 00:00:00"}, ImportedSubscriberStatus.LEFT),
        ("Email Address,CLEAN_TIME", {"CLEAN_TIME": "2020-01-01 00:00:00"}, ImportedSubscriberStatus.BOUNCED),
        (MAILPOET, {"List__status": "subscribed", "Global__status": "subscribed"}, ImportedSubscriberStatus.SUBSCRIBED),
        (MAILPOET, {"List__status": "subscribed", "Global__status": "unsubscribed"}, ImportedSubscriberStatus.LEFT),
        (MAILPOET, {"List__status": "unsubscribed", "Global__status": "bounced"}, ImportedSubscriberStatus.BOUNCED),
        (MAILPOET, {"Global__status": "unconfirmed"}, ImportedSubscriberStatus.UNCONFIRMED),
        (LISTMONK, {"status": "enabled"}, ImportedSubscriberStatus.SUBSCRIBED),
        (LISTMONK, {"status": "disabled"}, ImportedSubscriberStatus.LEFT),
        (LISTMONK, {"status": "blocklisted"}, ImportedSubscriberStatus.BLOCKED),
        (GHOST, {"subscribed_to_emails": "true"}, ImportedSubscriberStatus.SUBSCRIBED),
        (GHOST, {"subscribed_to_emails": "FALSE"}, ImportedSubscriberStatus.LEFT),
        (
            GHOST,
            {"subscribed_to_emails": "true", "deleted_at": "2024-01-01T00:00:00.000Z"},
            ImportedSubscriberStatus.LEFT,
        ),
        (SUBSTACK, {"active_subscription": "false", "email_disabled": "false"}, ImportedSubscriberStatus.SUBSCRIBED),
        (SUBSTACK, {"email_disabled": "true"}, ImportedSubscriberStatus.LEFT),
        (BEEHIIV, {"status": "active"}, ImportedSubscriberStatus.SUBSCRIBED),
        (BEEHIIV, {"status": "inactive"}, ImportedSubscriberStatus.LEFT),
        (BEEHIIV, {"status": "pending"}, ImportedSubscriberStatus.UNCONFIRMED),
        (BEEHIIV, {"status": "invalid"}, ImportedSubscriberStatus.BOUNCED),
        (KIT, {"state": "active"}, ImportedSubscriberStatus.SUBSCRIBED),
        (KIT, {"state": "inactive"}, ImportedSubscriberStatus.UNCONFIRMED),
        (KIT, {"state": "cancelled"}, ImportedSubscriberStatus.LEFT),
        (BUTTONDOWN, {"type": "regular"}, ImportedSubscriberStatus.SUBSCRIBED),
        (BUTTONDOWN, {"type": "unactivated"}, ImportedSubscriberStatus.UNCONFIRMED),
        (BUTTONDOWN, {"type": "complained"}, ImportedSubscriberStatus.COMPLAINED),
        (BUTTONDOWN, {"type": "past_due"}, ImportedSubscriberStatus.SUBSCRIBED),
        (CONSTANT_CONTACT, {"Email__status": "Active"}, ImportedSubscriberStatus.SUBSCRIBED),
        (CONSTANT_CONTACT, {"Email__status": "Unsubscribed"}, ImportedSubscriberStatus.LEFT),
        (CONSTANT_CONTACT, {"Email__status": "Bouncing"}, ImportedSubscriberStatus.BOUNCED),
        (CONSTANT_CONTACT, {"Email__permission__status": "Not set"}, ImportedSubscriberStatus.UNCONFIRMED),
        (CONSTANT_CONTACT, {"Confirmed__Opt-Out__Date": "02/03/2024"}, ImportedSubscriberStatus.LEFT),
        (GOVDELIVERY, {}, ImportedSubscriberStatus.SUBSCRIBED),
        (GOVDELIVERY_DELETED, {"Date__Deleted": "02/03/2024 1:02 PM"}, ImportedSubscriberStatus.LEFT),
        ("E-Mail,Status", {"Status": "Abgemeldet"}, ImportedSubscriberStatus.LEFT),
        ("Courriel,Statut", {"Statut": "Désabonné"}, ImportedSubscriberStatus.LEFT),
        ("Correo electrónico,Estado", {"Estado": "Dado de baja"}, ImportedSubscriberStatus.LEFT),
        ("email,status", {"status": "spam complaint"}, ImportedSubscriberStatus.COMPLAINED),
        ("email,unsubscribed", {"unsubscribed": "2020-01-01"}, ImportedSubscriberStatus.LEFT),
        ("email,unsubscribed", {"unsubscribed": "no"}, ImportedSubscriberStatus.SUBSCRIBED),
    ],
)
def test_who_left_by_their_own_service_is_no_person_to_bring_in(
    headings: str, fields: dict[str, str], claim: ImportedSubscriberStatus
) -> None:
    names = headings.split(",")
    layout = recognize_layout(names)
    assert layout is not None
    email = names[layout.email]
    assert _read(headings, **{email.replace(" ", "__"): "ada@example.org"}, **fields).status is claim


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-04-05 10:00:00", datetime(2019, 4, 5, 10, tzinfo=UTC)),
        ("2019-04-05T12:00:00+02:00", datetime(2019, 4, 5, 10, tzinfo=UTC)),
        ("2019-04-05T10:00:00.000Z", datetime(2019, 4, 5, 10, tzinfo=UTC)),
        ("2021-04-05 10:20:30.123456789 +0000 UTC", datetime(2021, 4, 5, 10, 20, 30, 123456, UTC)),
        ("2019-04-05", datetime(2019, 4, 5, 12, tzinfo=UTC)),
        ("05.04.2019", datetime(2019, 4, 5, 12, tzinfo=UTC)),
        ("5.4.2019 9:30", datetime(2019, 4, 5, 9, 30, tzinfo=UTC)),
        ("05.04.2019, 10:20:30", datetime(2019, 4, 5, 10, 20, tzinfo=UTC)),
        ("", None),
        ("NULL", None),
        ("0000-00-00 00:00:00", None),
        ("1970-01-01 00:00:00", None),
        ("0001-01-01 00:00:00", None),
    ],
)
def test_times_are_read_as_the_services_write_them(text: str, expected: datetime | None) -> None:
    assert parse_row_time(text) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (["nobody", "", ""], "no @"),
        (["ada@example.org", "04/05/2019", ""], "the confirmation time can't be read"),
        (["ada@example.org", "31.02.2019", ""], "the confirmation time can't be read"),
        (["ada@example.org", (NOW + timedelta(days=3)).isoformat(), ""], "future"),
        (["ada@example.org", "", "ruhend"], "unknown status “ruhend” in column “status”; map it"),
        (["ada@example.org", "", "ada@example.org"], "the value in column “status” is long text or an address"),
        (["ada@example.org", "", "", "x"], "the row has 4 fields instead of 3"),
        (["a\x00da@example.org", "", ""], "before the @"),
    ],
)
def test_a_row_in_doubt_is_rejected_with_a_reason_that_quotes_nothing_of_an_address(
    fields: list[str], reason: str
) -> None:
    layout = recognize_layout(["email", "confirmed_at", "status"])
    assert layout is not None
    with pytest.raises(RowError, match=reason) as caught:
        parse_row(layout, fields, 2, now=NOW)
    assert "example.org" not in str(caught.value)


@pytest.mark.parametrize("heading", ["confirmed_at", "created_at"])
def test_a_date_of_today_is_not_in_the_future(heading: str) -> None:
    layout = recognize_layout(["email", heading])
    assert layout is not None
    row = parse_row(layout, ["ada@example.org", NOW.date().isoformat()], 2, now=NOW.replace(hour=8))
    assert NOW.replace(hour=8) in {row.confirmed_at, row.requested_at}


def test_a_short_row_is_filled_up_unless_its_address_is_missing() -> None:
    layout = recognize_layout(["name", "email", "confirmed_at"])
    assert layout is not None
    assert parse_row(layout, ["Ada", "ada@example.org"], 2, now=NOW).confirmed_at is None
    with pytest.raises(RowError, match="the row ends before the email address column"):
        parse_row(layout, ["Ada"], 2, now=NOW)
    assert is_blank_row(["", " ", "\t"])


@given(st.lists(st.text(max_size=40), max_size=6), st.lists(st.text(max_size=60), max_size=8))
def test_no_heading_and_no_row_is_anything_but_read_or_rejected(first: list[str], fields: list[str]) -> None:
    layout = recognize_layout(["email", "confirmed_at", "status", *first])
    assert layout is not None
    with contextlib.suppress(RowError):
        parse_row(layout, fields, 2, now=NOW)


def test_who_paid_for_a_substack_has_asked_for_it_and_free_subscribers_show_no_evidence() -> None:
    paid = _read(SUBSTACK, email="ada@example.org", active_subscription="true", first_payment_at="2024-03-01T10:00:00Z")
    free = _read(SUBSTACK, email="bo@example.org", active_subscription="false", created_at="2024-03-01T10:00:00Z")
    assert (paid.confirmed_at, free.confirmed_at) == (datetime(2024, 3, 1, 10, tzinfo=UTC), None)


def test_columns_are_mapped_by_hand_and_the_mapping_makes_a_list() -> None:
    layout = recognize_layout(["who", "email", "joined", "double opt-in", "standing"])
    assert layout is not None
    assert list_column_meanings(layout) == (ColumnMeaning.NOTHING, ColumnMeaning.ADDRESS, *[ColumnMeaning.NOTHING] * 3)
    meanings = [ColumnMeaning.NOTHING, ColumnMeaning.ADDRESS, ColumnMeaning.REQUESTED_AT]
    meanings += [ColumnMeaning.CONFIRMED_AT, ColumnMeaning.STATUS]
    mapped = assign_column_meanings(layout, meanings)
    assert list_column_meanings(mapped) == tuple(meanings)
    row = parse_row(mapped, ["Ada", "ada@example.org", "2024-03-01", "2024-03-02", "active"], 2, now=NOW)
    assert row.confirmed_at == datetime(2024, 3, 2, 12, tzinfo=UTC)
    for wrong, why in (
        ([ColumnMeaning.NOTHING] * 5, "No column was chosen for email addresses"),
        ([ColumnMeaning.ADDRESS, ColumnMeaning.ADDRESS, *meanings[2:]], "Two columns are imported as “address.”"),
        (meanings[:4], "columns don't match"),
    ):
        with pytest.raises(ColumnMappingError, match=why):
            assign_column_meanings(layout, wrong)


@pytest.mark.parametrize(
    ("domain", "meant"),
    [
        *[
            (slip, "gmail.com")
            for slip in ("gmial.com", "gmai.com", "gmaill.com", "gnail.com", "gmail.con", "gmail.co")
        ],
        *[("yaho.com", "yahoo.com"), ("hotmial.com", "hotmail.com"), ("comcast.ne", "comcast.net")],
        *[(right, "") for right in ("gmail.com", "mail.com", "ymail.com", "cloud.com", "county.example", "aol.com")],
    ],
)
def test_a_domain_that_is_one_slip_from_a_large_service_is_noticed(domain: str, meant: str) -> None:
    assert find_likely_domain(domain) == meant


@pytest.mark.parametrize(
    "name", ["unsubscribed.csv", "Unsubscribed_2024.csv", "cleaned_members.csv", "nonsubscribed_1.csv"]
)
def test_a_file_of_any_service_says_in_its_name_that_its_people_are_no_subscribers(name: str) -> None:
    assert _read("email", name=name, email="ada@example.org").status is not ImportedSubscriberStatus.SUBSCRIBED
    assert _read("email", name="subscribed.csv", email="ada@example.org").status is ImportedSubscriberStatus.SUBSCRIBED


SECTIONS = {
    "featured": "featured",
    "top stories": "featured",
    "dates": "dates",
    "upcoming dates": "dates",
    "jobs": "jobs",
    "health": "dates:health",
    "ports": "dates:ports",
}


def _preferences(**cells: str) -> dict[str, object]:
    """Read the preferences of a row whose columns are mapped by hand."""
    layout = recognize_layout(["email", *cells])
    assert layout is not None
    meanings = [ColumnMeaning.ADDRESS, *(ColumnMeaning[name.upper()] for name in cells)]
    mapped = replace(assign_column_meanings(layout, meanings), part_keys=SECTIONS)
    return dict(parse_row(mapped, ["ada@example.org", *cells.values()], 2, now=NOW).preferences)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"tags": "Top stories; VIP"}, {"omit": ["dates", "jobs"]}),
        ({"tags": '"Dates","jobs"'}, {"omit": ["featured"]}),
        ({"tags": "customer,2019"}, {}),
        ({"tags": "Health, VIP"}, {"omit_topics": ["ports"]}),
        ({"tags": "Health, Jobs"}, {"omit": ["featured"], "omit_topics": ["ports"]}),
        ({"omit": "jobs, health"}, {"omit": ["health", "jobs"]}),
        ({"omit": "jobs, Upcoming dates"}, {"omit": ["dates", "jobs"]}),
        ({"tags": "featured", "omit": "featured"}, {"omit": ["dates", "featured", "jobs"]}),
        ({"omit_topics": "maritime, border-2"}, {"omit_topics": ["border-2", "maritime"]}),
        ({"breaking_news": "yes"}, {"breaking_news": True}),
        ({"frequency": "Monthly"}, {"frequency": "monthly"}),
        ({"frequency": "fortnightly 2026-03-02"}, {"frequency": "fortnightly", "start": "2026-03-02"}),
        ({"frequency": "biweekly"}, {"frequency": "fortnightly", "start": NOW.date().isoformat()}),
        ({"zone": "Europe/Berlin", "hour": "07:00"}, {"zone": "Europe/Berlin", "hour": 7}),
        ({"zone": "Europe/Berlin", "hour": "0"}, {"zone": "Europe/Berlin", "hour": 0}),
        ({"zone": "Europe/Berlin"}, {}),
        ({"hour": "7"}, {}),
        ({"short": "yes", "text_only": "no"}, {"short": True}),
        ({"text_only": "text"}, {"text_only": True}),
        ({"pause_until": "2027-01-31 00:00:00"}, {"pause_until": "2027-01-31"}),
        ({"frequency": "", "zone": "", "hour": " ", "tags": ""}, {}),
    ],
)
def test_columns_of_preferences_are_read(cells: dict[str, str], expected: dict[str, object]) -> None:
    assert _preferences(**cells) == expected


@pytest.mark.parametrize(
    "cells",
    [
        {"frequency": "daily"},
        {"frequency": "fortnightly 2026-99-99"},
        {"zone": "Mars/Base", "hour": "7"},
        {"zone": "Europe/Berlin", "hour": "25"},
        {"short": "maybe"},
        {"breaking_news": "sometimes"},
        {"omit_topics": "Not A Topic!"},
        {"pause_until": "soon"},
        {"omit": "Not A Section!"},
    ],
)
def test_a_preference_that_cannot_be_read_rejects_its_row(cells: dict[str, str]) -> None:
    with pytest.raises(RowError, match="can't be read"):
        _preferences(**cells)


def test_every_preference_can_be_imported() -> None:
    """Whoever adds a preference adds the meaning of a column (`start` is in that of the frequency)."""
    meanings = {meaning.name.lower() for meaning in PREFERENCE_READERS}
    fields = set(Preferences.__pydantic_fields__)  # type: ignore[attr-defined]  # pydantic adds it
    assert fields - {"is_readable", "start"} == meanings - {"tags"}


@pytest.mark.parametrize(
    ("cell", "kept"), [("de", "de"), ("fr-CA", "fr-CA"), ("Deutsch", "Deutsch"), ("a@b.org", ""), ("7", "")]
)
def test_the_language_is_kept_as_evidence(cell: str, kept: str) -> None:
    assert _read("email,Sprache", email="ada@example.org", Sprache=cell).evidence.get("language", "") == kept
