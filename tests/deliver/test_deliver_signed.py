"""What arrives over SMTP when everything is set: signed, with a return path of its own, for one person each."""

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from digest.deliver.dkim import Signer, signer_of
from digest.deliver.sending import Report, send
from digest.deliver.transports import TransportError, open_transport
from digest.delivery_db import Delivery, DeliveryState
from digest.doctor import examine
from digest.install import Install
from digest.settings import Settings
from tests.deliver.conftest import NAME, World
from tests.deliver.looking import Look, click, valid
from tests.deliver.servers import Box, serving

READERS = 500


def _send(world: World, settings: Settings, url: str) -> Report:
    transport = open_transport(settings.model_copy(update={"mail_url": SecretStr(url)}))
    try:
        return send(world.database, NAME, transport, world.keys, settings, now_fn=world.clock)
    finally:
        transport.close()


def _signer(settings: Settings) -> Signer:
    signer = signer_of(settings)
    assert signer is not None
    return signer


def test_every_message_of_a_send_is_sound_and_signed_and_is_for_one_person_alone(
    sqlite_world: World, keyed: Settings
) -> None:
    addresses = [f"reader{n:03}@example.org" for n in range(READERS)]
    numbers = dict(zip(addresses, sqlite_world.readers(*addresses), strict=True))
    box = Box()
    with serving(box) as port:
        report = _send(sqlite_world, keyed, f"smtp://127.0.0.1:{port}?starttls=off&connections=4")
    assert report.books[DeliveryState.ACCEPTED] == READERS == len(box.taken)
    with sqlite_world.database.read() as session:
        deliveries = {d.id: d.person for d in session.scalars(select(Delivery))}
    look = Look(sqlite_world.keys, _signer(keyed), numbers, deliveries)
    assert {look.at(*taken) for taken in box.taken} == set(numbers.values())
    click(Install(keyed, sqlite_world.database), sqlite_world.keys, list(numbers.values())[::100])


def test_files_in_the_outbox_are_signed_too(sqlite_world: World, keyed: Settings) -> None:
    sqlite_world.readers("ada@example.org")
    _send(sqlite_world, keyed, "outbox:")
    (file,) = (keyed.outbox / "edition").glob("*.eml")
    assert valid(file.read_bytes(), _signer(keyed)) == [True, True]


def test_a_key_file_that_others_can_read_opens_no_transport(keyed: Settings) -> None:
    assert keyed.dkim_key_file is not None
    keyed.dkim_key_file.chmod(0o644)
    with pytest.raises(TransportError, match=r"DIGEST_DKIM_KEY_FILE.*chmod 600"):
        open_transport(keyed)


def _doctor_says(settings: Settings, world: World) -> list[tuple[str, str]]:
    return [(d.level, d.what) for d in examine(Install(settings, world.database)) if "sign" in d.what.lower()]


@pytest.mark.parametrize(("url", "level"), [("outbox:", "ok"), ("smtp://mail.hls.test", "warning")])
def test_the_doctor_says_that_mail_is_not_signed(sqlite_world: World, url: str, level: str) -> None:
    settings = sqlite_world.settings.model_copy(update={"mail_url": SecretStr(url)})
    ((found, said),) = _doctor_says(settings, sqlite_world)
    assert found == level
    assert "not signed" in said
    assert "DIGEST_DKIM_KEY_FILE" in said


def test_the_doctor_shows_the_records_of_the_keys(sqlite_world: World, keyed: Settings) -> None:
    said = _doctor_says(keyed, sqlite_world)
    assert [level for level, _ in said] == ["ok", "ok"]
    assert "one._domainkey.news.example.org the TXT record v=DKIM1; k=rsa; p=" in said[0][1]
    assert "two._domainkey.news.example.org the TXT record v=DKIM1; k=ed25519; p=" in said[1][1]


def test_the_doctor_notices_a_signature_for_a_foreign_domain_and_a_key_that_others_read(
    sqlite_world: World, keyed: Settings
) -> None:
    foreign = keyed.model_copy(update={"dkim_domain": "other.example.org"})
    assert _doctor_says(foreign, sqlite_world)[-1][0] == "warning"
    assert keyed.dkim_key_file is not None
    keyed.dkim_key_file.chmod(0o644)
    assert [d.level for d in examine(Install(keyed, sqlite_world.database)) if "chmod" in d.what] == ["error"]
