"""Messages received over SMTP with everything set up: signed, with their own return path, each for one person."""

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import select

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import run_checks
from digest.deliver.compose.dkim import DkimSigner, load_signer
from digest.deliver.providers.kind import ProviderSettingsError
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.installation.opened_installation import Installation
from digest.settings import RelaySettings, Settings
from digest.store.delivery_models import Delivery, DeliveryState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.sent_message_checks import SentMessageChecker, unsubscribe_and_check, verify_signatures
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server

SUBSCRIBERS = 200


def _send(world: DeliverySetup, settings: Settings, url: str) -> SendReport:
    provider = open_provider(settings.model_copy(update={"mail_url": SecretStr(url)}))
    try:
        return run_edition(world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock)
    finally:
        provider.close()


def _signer(settings: Settings) -> DkimSigner:
    signer = load_signer(settings)
    assert signer is not None
    return signer


def test_every_message_of_a_send_is_sound_and_signed_and_is_for_one_person_alone(
    one_world: DeliverySetup, keyed: Settings
) -> None:
    addresses = [f"reader{n:03}@example.org" for n in range(SUBSCRIBERS)]
    numbers = dict(zip(addresses, one_world.add_subscribers(*addresses), strict=True))
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        report = _send(one_world, keyed, f"smtp://127.0.0.1:{port}?starttls=off&connections=4")
    assert report.delivery_counts[DeliveryState.ACCEPTED] == SUBSCRIBERS == len(box.messages)
    with one_world.database.read() as session:
        deliveries = {d.id: d.person for d in session.scalars(select(Delivery))}
    checker = SentMessageChecker(one_world.keys, _signer(keyed), numbers, deliveries)
    assert {checker.check_message(*received) for received in box.messages} == set(numbers.values())
    unsubscribe_and_check(Installation(keyed, one_world.database), one_world.keys, list(numbers.values())[::40])


def test_files_in_the_outbox_are_signed_too(one_world: DeliverySetup, keyed: Settings) -> None:
    one_world.add_subscribers("ada@example.org")
    _send(one_world, keyed, "outbox:")
    (file,) = (keyed.outbox_folder / "edition").glob("*.eml")
    assert verify_signatures(file.read_bytes(), _signer(keyed)) == [True, True]


def _let_relay_sign(settings: Settings, record: str) -> Settings:
    relay = settings.file.relay.model_copy(update={"dkim_record": record})
    return settings.model_copy(update={"file": settings.file.model_copy(update={"relay": relay})})


def test_what_the_mail_server_signs_is_not_signed_here(one_world: DeliverySetup, keyed: Settings) -> None:
    one_world.add_subscribers("ada@example.org")
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        settings = _let_relay_sign(keyed, "mail._domainkey.news.example.org")
        _send(one_world, settings, f"smtp://127.0.0.1:{port}?starttls=off")
    ((*_, message),) = box.messages
    assert b"dkim-signature" not in message.lower()
    assert b"\r\nList-Unsubscribe-Post: " in message


def test_the_doctor_says_what_the_mail_server_signs_by_and_for_whom(one_world: DeliverySetup, keyed: Settings) -> None:
    ((level, said),) = _doctor_says(_let_relay_sign(keyed, "mail._domainkey.news.example.org"), one_world)
    assert level == "ok"
    assert "your mail server signs email by mail._domainkey.news.example.org" in said
    assert "digest doctor MESSAGE --online" in said
    *_, (level, said) = _doctor_says(_let_relay_sign(keyed, "mail._domainkey.other.example"), one_world)
    assert level == "warning"
    assert "signed for other.example but sent from" in said
    assert "correct relay.dkim_record" in said


@pytest.mark.parametrize(
    "record", ["mail", "mail._domainkey.", "._domainkey.example.org", "a b._domainkey.example.org"]
)
def test_a_name_that_is_no_dkim_record_is_refused(record: str) -> None:
    with pytest.raises(ValidationError, match="isn't the name of a DKIM record"):
        RelaySettings(dkim_record=record)


def test_a_key_file_that_others_can_read_opens_no_transport(keyed: Settings) -> None:
    assert keyed.dkim_key_file is not None
    keyed.dkim_key_file.chmod(0o644)
    with pytest.raises(ProviderSettingsError, match=r"DIGEST_DKIM_KEY_FILE.*chmod 600"):
        open_provider(keyed)


def _doctor_says(settings: Settings, world: DeliverySetup) -> list[tuple[str, str]]:
    return [
        (finding.level, finding.sentence)
        for finding in run_checks(ExaminedInstallation(Installation(settings, world.database)), ["signing"])
    ]


@pytest.mark.parametrize(("url", "level"), [("outbox:", "ok"), ("smtp://mail.hls.test", "warning")])
def test_the_doctor_says_that_mail_is_not_signed(one_world: DeliverySetup, url: str, level: str) -> None:
    settings = one_world.settings.model_copy(update={"mail_url": SecretStr(url)})
    ((finding_level, finding_text),) = _doctor_says(settings, one_world)
    assert finding_level == level
    assert "Email isn't signed (DKIM)" in finding_text
    assert ("DIGEST_DKIM_KEY_FILE" in finding_text) is (level == "warning")


def test_the_doctor_names_the_keys_and_who_looks_at_their_records(one_world: DeliverySetup, keyed: Settings) -> None:
    findings = _doctor_says(keyed, one_world)
    assert [level for level, _ in findings] == ["ok", "ok"]
    for name, (_, said) in zip(("one", "two"), findings, strict=True):
        assert f"signed by {name}._domainkey.news.example.org; to check the DNS record" in said


def test_the_doctor_notices_a_signature_for_a_foreign_domain_and_a_key_that_others_read(
    one_world: DeliverySetup, keyed: Settings
) -> None:
    foreign = keyed.model_copy(update={"dkim_domain": "other.example.org"})
    assert _doctor_says(foreign, one_world)[-1][0] == "warning"
    assert keyed.dkim_key_file is not None
    keyed.dkim_key_file.chmod(0o644)
    ((level, said),) = _doctor_says(keyed, one_world)
    assert level == "error"
    assert "chmod 600" in said
