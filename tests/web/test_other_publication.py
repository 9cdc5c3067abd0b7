"""A publication with another name: its emails and pages don't mention HLS.Today."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.settings_checks import check_default_texts
from digest.app.editions.sample_emails import STAFF_MAILS, SUBSCRIBER_MAILS, compose_sample_email
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import Database
from digest.templating import find_template_folder
from digest.web.app import create_app
from digest.web.auth.route_rules import PUBLIC, ROUTE_RULES
from subscribers.crypto.keys import KeyRing

FOREIGN = re.compile(r"hls.?today|homeland|news\.example\.org", re.IGNORECASE)
OWN = {
    "publication": {
        "name": "Vigie",
        "tagline": "La semaine des secours",
        "site": "https://vigie.example/",
        "about": "Vigie informe les secours.",
    },
    "select": {"topics": {"Secours en mer": ["canot"]}},
    "sender": {
        "name": "Vigie",
        "address": "lettre@vigie.example",
        "reply_to": "redaction@vigie.example",
        "list_id": "lettre.vigie.example",
        "postal_address": "12 quai Exemple, Brest",
    },
}


@pytest.fixture
def install(one_database: Database, tmp_path: Path) -> Installation:
    settings = Settings.model_validate({"home": tmp_path, "base_url": "https://lettre.vigie.example", "file": OWN})
    KeyRing.create(settings.key_file)
    return Installation(settings, one_database)


def test_no_mail_names_another_publication(install: Installation) -> None:
    for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS):
        made = compose_sample_email(install.settings, mail.key)
        for part in (made.subject, made.text, made.html, made.sender_name, made.sender_address):
            assert not FOREIGN.search(part), (mail.key, FOREIGN.findall(part))


def test_no_page_names_another_publication(install: Installation) -> None:
    app = create_app(install)
    client = app.test_client()
    pages = [
        str(rule)
        for rule in app.url_map.iter_rules()
        if not rule.arguments and "GET" in (rule.methods or ()) and ROUTE_RULES[rule.endpoint] is PUBLIC
    ]
    assert {"/", "/subscribe", "/contact", "/privacy", "/feed.atom"} <= set(pages)
    for page in (*pages, "/no-such-page"):
        assert not FOREIGN.search(client.get(page).data.decode("utf-8", "replace")), page
    named = {
        file.name
        for file in find_template_folder().rglob("*.*")
        if re.search("hls.?today", file.read_text(), re.IGNORECASE)
    }
    assert named == set(), "what a page says of the publication comes from the settings"


def test_the_doctor_names_what_is_left(one_database: Database, tmp_path: Path) -> None:
    def said(file: Mapping[str, object]) -> list[str]:
        installation = Installation(Settings.model_validate({"home": tmp_path, "file": file}), one_database)
        return [finding.message for finding in check_default_texts(ExaminedInstallation(installation))]

    assert said({}) == []
    assert said(OWN) == []
    texts, addresses = said(
        {"publication": {"name": "Vigie", "about": "Ours."}, "sender": {"reply_to": "us@vigie.example"}}
    )
    assert texts.startswith(
        "The publication is Vigie, but some settings still contain HLS.Today's texts (publication.tagline, "
    )
    assert addresses.startswith(
        "The sample's domain (news.example.org) is still used for sender.address and sender.list_id."
    )
