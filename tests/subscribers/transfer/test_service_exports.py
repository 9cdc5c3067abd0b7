"""The exports of ten services with their documented columns: afterward, the right people can be emailed, and no others."""

from pathlib import Path

import pytest

from digest.store.engine import Database
from subscribers.consent import audience, seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.transfer.import_report import ignore_reject
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"service exports")
TIME = "2024-03-02 14:12:00"
ISO = "2024-03-02T14:12:00.000Z"


def _mailpoet(heading: str, confirmed: str, subscribed: str, waiting: str, gone: str) -> str:
    """Write MailPoet's export with the words of one language."""
    rows = [
        f"yes@example.org,,,192.0.2.1,{TIME},{TIME},192.0.2.1,{subscribed},{subscribed},News",
        f"bare@example.org,,,192.0.2.1,{TIME},,,{subscribed},{subscribed},News",
        f"waiting@example.org,,,192.0.2.1,{TIME},,,{waiting},{waiting},News",
        f"gone@example.org,,,192.0.2.1,{TIME},{TIME},192.0.2.1,{gone},{subscribed},News",
    ]
    names = f"{heading},First name,Last name,Subscription IP,Subscription time,{confirmed},Confirmation IP"
    return "\n".join([f"{names},List status,Global status,List", *rows])


EXPORTS = {
    "Mailchimp": (
        "subscribed_email_audience_export_1a2b.csv",
        (
            "Email Address,First Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,TIMEZONE,LEID,EUID,NOTES,TAGS\n"
            f'yes@example.org,Ada,2,{TIME},192.0.2.1,{TIME},192.0.2.1,Europe/Berlin,1,a,,"""VIP"""\n'
            f"bare@example.org,Bo,2,{TIME},,,,,2,b,,\n"
        ),
    ),
    "Mailchimp, left": (
        "unsubscribed_email_audience_export_1a2b.csv",
        (
            "Email Address,First Name,OPTIN_TIME,CONFIRM_TIME,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_REASON,LEID\n"
            f"gone@example.org,Ada,{TIME},{TIME},{TIME},May,NORMAL,1\n"
        ),
    ),
    "Mailchimp, German": (
        "subscribed_segment_export_1a2b.csv",
        f"E-Mail-Adresse,Vorname,OPTIN_TIME,CONFIRM_TIME,CONFIRM_IP,LEID\nyes@example.org,Ada,{TIME},{TIME},192.0.2.1,1\n",
    ),
    "Mailchimp, French": (
        "subscribed_segment_export_1a2b.csv",
        f"Adresse e-mail,Prénom,OPTIN_TIME,CONFIRM_TIME,CONFIRM_IP,LEID\nyes@example.org,Ada,{TIME},{TIME},192.0.2.1,1\n",
    ),
    "Mailchimp, Spanish": (
        "subscribed_segment_export_1a2b.csv",
        f"Correo electrónico,Nombre,OPTIN_TIME,CONFIRM_TIME,LEID\nyes@example.org,Ada,{TIME},{TIME},1\n",
    ),
    "MailPoet": ("e.csv", _mailpoet("Email", "Confirmation time", "Subscribed", "Unconfirmed", "Unsubscribed")),
    "MailPoet, German": ("e.csv", _mailpoet("E-Mail", "Bestätigungszeit", "Abonniert", "Unbestätigt", "Abgemeldet")),
    "MailPoet, French": ("e.csv", _mailpoet("Email", "Date de confirmation", "Abonné", "Non confirmé", "Désabonné")),
    "MailPoet, Spanish": (
        "e.csv",
        _mailpoet("Correo", "Hora de confirmación", "Suscrito", "Sin confirmar", "Dado de baja"),
    ),
    "Ghost": (
        "members.csv",
        (
            "id,email,name,note,subscribed_to_emails,complimentary_plan,stripe_customer_id,created_at,deleted_at,labels,tiers\n"
            f"1,bare@example.org,Ada,,true,false,,{ISO},,,\n"
            f"2,gone@example.org,Bo,,false,false,,{ISO},,,\n"
            f"3,deleted@example.org,Cy,,true,false,,{ISO},{ISO},,\n"
        ),
    ),
    "listmonk": (
        "subscribers.csv",
        (
            "uuid,email,name,attributes,status,created_at,updated_at\n"
            'u,bare@example.org,Ada,"{""city"": ""Rome""}",enabled,2021-04-05 10:20:30 +0000 UTC,\n'
            "v,gone@example.org,Bo,{},disabled,,\nw,blocked@example.org,Cy,{},blocklisted,,\n"
        ),
    ),
    "Substack": (
        "email_list.example.csv",
        (
            "email,active_subscription,expiry,plan,email_disabled,created_at,first_payment_at\n"
            f"yes@example.org,true,,yearly,false,{ISO},{ISO}\nbare@example.org,false,,other,false,{ISO},\n"
            f"gone@example.org,false,,other,true,{ISO},\n"
        ),
    ),
    "Buttondown": (
        "subscribers.csv",
        (
            "email_address,notes,metadata,tags,type,source,creation_date\n"
            f"bare@example.org,,{{}},,regular,api,{ISO}\ngone@example.org,,{{}},,unsubscribed,api,{ISO}\n"
            f"waiting@example.org,,{{}},,unactivated,api,{ISO}\nbad@example.org,,{{}},,undeliverable,api,{ISO}\n"
        ),
    ),
    "beehiiv": (
        "subscribers.csv",
        (
            "email,status,created_at,subscription_tier,utm_source,utm_channel,referring_site\n"
            "bare@example.org,active,2024-03-02,free,,,\ngone@example.org,inactive,2024-03-02,free,,,\n"
            "waiting@example.org,validating,2024-03-02,free,,,\n"
        ),
    ),
    "Kit": (
        "subscribers.csv",
        (
            f"id,first_name,email_address,state,created_at,tags\n1,Ada,bare@example.org,active,{ISO},x\n"
            f"2,Bo,waiting@example.org,inactive,{ISO},\n3,Cy,gone@example.org,cancelled,{ISO},\n"
        ),
    ),
    "Constant Contact": (
        "contact_export.csv",
        (
            "Email address,First name,Last name,Email status,Email permission status,Confirmed Opt-Out Date,Email Lists,Created At\n"
            "bare@example.org,Ada,L,Active,Express,,News,2024-03-02\ngone@example.org,Bo,L,Unsubscribed,Unsubscribed,3/2/2024,News,\n"
            "waiting@example.org,Cy,L,Non-subscriber,Not set,,News,\nbad@example.org,Di,L,Bouncing,Implied,,News,\n"
        ),
    ),
    "GovDelivery": (
        "topic_subscribers.csv",
        (
            "Contact,Origin,Location,Location Type,Subscription Created\nbare@example.org,Direct,US,IP,03/02/2024 10:20 AM\n"
            "2025550143,Direct,US,IP,03/02/2024 10:20 AM\n"
        ),
    ),
    "GovDelivery, deleted": (
        "deleted.csv",
        (
            "Date Deleted,Date Created,Days Subscribed,Country Code,Destination,Deletion Reason,Deleted By,Subscriptions Count\n"
            "03/02/2024,01/02/2023,420,,gone@example.org,By Subscriber,gone@example.org,2\n"
            "03/02/2024,01/02/2023,420,1,2025550143,By Administrator,admin@agency.example,1\n"
        ),
    ),
}
CONSENTING = {"yes@example.org"}
VOUCHED = CONSENTING | {"bare@example.org"}


@pytest.mark.takes_turns
@pytest.mark.parametrize("reason", [None, "signed form"], ids=["as it is", "vouched for"])
@pytest.mark.parametrize("export", EXPORTS)
def test_the_right_people_may_be_emailed(database: Database, tmp_path: Path, export: str, reason: str | None) -> None:
    name, text = EXPORTS[export]
    file = tmp_path / name
    file.write_text(text, "utf-8")
    options = ImportOptions(attest_reason=reason)
    survey = survey_file(file, options)
    context = ImportContext(database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")
    report = run_import(context, survey, options, now=NOW, on_reject=ignore_reject)
    with database.read() as session:
        emailable = {each.decrypt_address(KEYS) for each in audience.load_audience_page(session, page_size=100)}
        assert seals.verify_ledger(session, KEYS).sound
    in_file = {word for line in text.splitlines() for word in line.split(",") if word.endswith("@example.org")}
    assert emailable == in_file & (VOUCHED if reason else CONSENTING)
    assert survey.layout.origin == export.partition(",")[0]
    phones = text.count("2025550143")
    assert report.counts["rejected"] == phones
