"""Several workers (`digest work`) send one edition over PostgreSQL, and are killed one after another."""

from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.sample_installation import KEYS
from digest.store.delivery_models import DeliveryState
from digest.store.models import Edition, EditionState
from tests.deliver.kill_harness import KillableSend, max_doubts_in_vain, open_killable_send, smtp_route, wait_until
from tests.deliver.prepared_databases import prepare_postgresql
from tests.deliver.worker_server import run_worker_server

SUBSCRIBERS = 480
WORKERS, KILLS = 4, 3
SLOW = 0.01  # seconds that the receiver takes before it has a message, and again before it answers


def _is_sent(at: KillableSend) -> bool:
    with at.database.read() as session:
        return session.scalars(select(Edition.state)).one() is EditionState.SENT


@pytest.mark.soak
def test_four_workers_of_which_one_is_killed_again_and_again_lose_nobody_and_repeat_nothing(
    postgresql_url: str, tmp_path: Path
) -> None:
    crowd = prepare_postgresql(tmp_path, postgresql_url, SUBSCRIBERS, kilobytes=4)
    with open_killable_send(smtp_route(4), tmp_path, crowd.copy_into(tmp_path), SUBSCRIBERS, SLOW) as at:
        at.options.settings.key_file.touch(mode=0o600)
        at.options.settings.key_file.write_text(KEYS.to_json())
        with run_worker_server(at.options) as server:
            begun = at.start_process()  # its release was missed by a week, so somebody sends it by hand
            wait_until(lambda: at.receiver.count_accepted() > 0, begun.is_alive)
            at.kill(begun)
            workers = [server.start_worker() for _ in range(WORKERS)]
            for kill in range(1, KILLS + 1):
                enough = SUBSCRIBERS * kill // (KILLS + 1)
                wait_until(lambda enough=enough: at.receiver.count_accepted() >= enough)  # type: ignore[misc]
                server.kill_worker(workers.pop(0))
                workers.append(server.start_worker())
            wait_until(lambda: _is_sent(at))
            assert [server.stop_worker(worker) for worker in workers] == [0] * WORKERS, at.log_tail()
        doubts = at.recover()
        at.finish_send()
        assert at.check_against_receiver()[DeliveryState.UNCERTAIN] == doubts <= (KILLS + 1) * at.route.max_in_doubt
        assert at.count_doubts_in_vain() <= max_doubts_in_vain(at.route, KILLS + 1)
