"""A backup during a send disturbs nothing. Restored elsewhere, it's complete, and nothing is sent automatically."""

from pathlib import Path

import pytest

from digest.app.upkeep import backups
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus
from digest.deliver.send.run.edition_sending import SendError, SendReport, run_edition
from digest.installation import sending_pause
from digest.installation.opened_installation import Installation
from digest.settings import BackupSettings, Settings
from digest.store.delivery_models import DeliveryState
from digest.store.engine import Database, open_database
from subscribers.consent import seals
from tests.actors import ADMIN
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all


@pytest.mark.takes_turns
def test_a_backup_in_the_middle_of_a_send_restores_elsewhere_whole_and_held(
    world: DeliverySetup, tmp_path: Path
) -> None:
    world.add_subscribers(*(f"reader{n}@county.example" for n in range(40)))
    world.settings.key_file.write_text(KEYS.to_json())
    world.settings.key_file.chmod(0o600)
    file = world.settings.file.model_copy(update={"backup": BackupSettings(folder=str(tmp_path / "backups"))})
    values = dict(world.settings) | {"file": file, "backup_passphrase": "what nobody guesses"}
    install = Installation(Settings.model_validate(values), world.database)
    made: list[backups.FolderBackup] = []
    answer = same_outcome_for_all(HandoverStatus.ACCEPTED)

    def back_up_while_a_batch_is_out(messages: object) -> BatchOutcome:
        if len(provider.received_messages) == 20:
            made.append(backups.back_up_into_folder(install, ADMIN, now=world.clock()))
        return answer(messages)  # type: ignore[arg-type]

    provider = ScriptedProvider(back_up_while_a_batch_is_out)
    send(world.database, world, provider)
    assert len(provider.received_messages) == 40, "the send was not disturbed"
    (done,) = made
    assert done.proof.sound

    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "keys.json").write_text(KEYS.to_json())
    (home / "keys.json").chmod(0o600)
    settings = install.settings.model_copy(update={"home": home, "database_url": ""})
    restored = backups.restore_backup(settings, ADMIN, done.file, replace=False, now=world.clock())
    assert restored.proof.sound
    copy = open_database(settings.effective_database_url)
    try:
        with copy.read() as session:
            counts = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
            assert seals.verify_ledger(session, KEYS).sound
        assert counts.is_balanced
        assert counts.planned == 40
        accepted = counts[DeliveryState.ACCEPTED]
        assert 0 < accepted < 40, "it is of the middle"
        assert accepted + counts[DeliveryState.UNCERTAIN] == 40, "what was not accepted may have gone out since"
        other = ScriptedProvider(answer)
        with pytest.raises(SendError, match=r"All sending has been paused by .* Restored from a backup"):
            send(copy, world, other)
        sending_pause.resume_all_sending(Installation(settings, copy), actor=ADMIN, now=world.clock())
        send(copy, world, other)
        assert other.received_messages == [], "nobody gets it twice without an admin's word"
    finally:
        copy.close()


def send(database: Database, world: DeliverySetup, provider: ScriptedProvider) -> SendReport:
    return run_edition(
        database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
