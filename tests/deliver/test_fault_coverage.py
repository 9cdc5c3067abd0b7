"""Every fault that a send must survive, with the test that causes it."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

REPLIES = "deliver/providers/smtp/test_provider.py::test_every_reply_has_its_meaning"
ANSWERS = "deliver/providers/sendgrid/test_provider.py::test_only_202_is_success_and_a_doubt_is_a_doubt"
EVENTS = "deliver/events/test_event_processor.py"
HOOK = "web/hooks/test_sendgrid.py"
OUTAGES = "deliver/send/test_database_outages.py"

FAULTS = {
    "421, 450, 452": REPLIES,
    "550 5.1.1": REPLIES,
    "550 5.7.515": REPLIES,
    "faults in the middle of a send": "deliver/providers/smtp/test_provider.py::test_faults_in_mid_send_keep_the_counts_and_repeat_nothing",
    "dropped before the final dot": "deliver/providers/smtp/test_provider.py::test_a_message_that_breaks_off_before_its_final_dot_is_tried_again",
    "dropped after the final dot": REPLIES,
    "answers that drip": "deliver/providers/smtp/test_provider.py::test_an_answer_that_drips_is_given_up_when_its_time_is_over",
    "a server that hardly reads": "deliver/providers/smtp/test_provider.py::test_a_message_that_breaks_off_before_its_final_dot_is_tried_again",
    "TLS missing or wrong": "deliver/providers/smtp/test_provider.py::test_an_untrusted_certificate_and_a_server_without_tls_get_nothing",
    "AUTH refused": "deliver/providers/smtp/test_provider.py::test_a_refused_sign_in_stops_the_run",
    "a 202 lost on the way back": "deliver/providers/sendgrid/test_provider.py::test_a_lost_answer_leaves_one_batch_in_doubt_and_nobody_gets_two",
    "429": "deliver/providers/sendgrid/test_provider.py::test_a_429_waits_until_its_reset_and_touches_nobody",
    "500, 502 with HTML, 302": ANSWERS,
    "a redirect with the key in hand": "deliver/providers/sendgrid/test_provider.py::test_a_redirect_is_not_followed_with_the_key",
    "413": "deliver/providers/sendgrid/test_provider.py::test_a_batch_that_is_too_large_is_halved",
    "one bad personalization in 1,000": "deliver/providers/sendgrid/test_provider.py::test_one_bad_entry_in_a_thousand_is_found_and_999_go_out_once",
    "no answer at all": "deliver/providers/sendgrid/test_provider.py::test_silence_ends_in_doubt",
    "the webhook 46 times, events": f"{EVENTS}::test_46_posts_of_the_same_events_count_once_whatever_their_ids",
    "the webhook 46 times, posts": f"{HOOK}::test_a_post_that_is_repeated_or_replayed_adds_nothing",
    "the webhook out of order": f"{EVENTS}::test_any_order_repetition_and_cut_of_events_ends_in_one_state",
    "the webhook forged": f"{HOOK}::test_whatever_is_wrong_gets_one_and_the_same_answer",
    "the webhook replayed": f"{HOOK}::test_a_post_that_is_repeated_or_replayed_adds_nothing",
    "unknown events": f"{EVENTS}::test_opens_and_clicks_are_not_stored_and_unknown_words_are",
    "disk full, under the database": f"{OUTAGES}::test_a_full_disk_pauses_the_send",
    "disk full, under the outbox": "deliver/send/run/test_edition_sending.py::test_a_full_disk_stops_the_run_and_loses_nobody",
    "the database gone for a while": f"{OUTAGES}::test_a_line_to_postgresql_that_is_cut_for_a_while_pauses_the_send",
    "the database locked for a while": f"{OUTAGES}::test_a_writer_that_keeps_sqlite_locked_pauses_the_send",
    "PostgreSQL restarted": f"{OUTAGES}::test_a_postgresql_that_is_restarted_in_mid_send_pauses_the_send",
    "a commit that fails, or seems to": f"{OUTAGES}::test_every_commit_may_fail_or_seem_to_fail_and_nobody_is_in_doubt",
}


@pytest.mark.parametrize(("fault", "test"), FAULTS.items(), ids=FAULTS)
def test_every_fault_has_its_test(fault: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert f"\ndef {name}(" in (HERE.parent / file).read_text("utf-8"), f"nothing brings about: {fault}"
