"""The record of processing matches the settings: who is responsible, who gets addresses, and how long data is kept."""

from typing import Any

from pydantic import SecretStr

from digest.app.site.processing_record import build_processing_record
from digest.settings import RetentionSettings, SenderSettings


def test_the_record_stands_on_a_page_for_admins(world: Any) -> None:
    page = world.signed_in_client("admin").get("/admin/processing").text
    for said in (
        "200 Example Street",
        "Demonstrating consent",
        "consent (Article 6(1)(a))".capitalize(),
        "400 days, then totals",
    ):
        assert said in page
    assert world.signed_in_client("editor").get("/admin/processing").status_code == 403


def test_it_follows_the_settings_and_names_what_they_do_not_say(world: Any) -> None:
    settings = world.install.settings
    file = settings.file.model_copy(
        update={"retention": RetentionSettings(evidence_days=30, delivery_days=120), "sender": SenderSettings()}
    )
    changed = settings.model_copy(
        update={"file": file, "mail_url": SecretStr("sendgrid:"), "sendgrid_api_key": SecretStr("SG.x")}
    )
    record = build_processing_record(changed)
    assert any("SendGrid" in line for line in record.recipients)
    assert any("SendGrid" in line for line in build_processing_record(settings).recipients) is False
    assert [activity.kept for activity in record.activities][1:3] == [
        "until erasure; IP address and browser for 30 days",
        "120 days, then totals; server replies 30 days, encrypted",
    ]
    assert (len(record.gaps), len(build_processing_record(settings).gaps)) == (2, 1)
    assert record.gaps[0].startswith("No postal address is set")
