"""Answers to those who wrote that they want to leave: their own link, by mail, for one click."""

from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from digest.deliver.events.mailbox.leave_requests import LeaveRequest
from digest.store.delivery_models import Delivery
from subscribers.consent import audience, ledger
from subscribers.crypto.keys import KeyRing
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import people

ANSWER_INTERVAL = timedelta(days=7)  # one answer a reader: whoever can send mail can write in their name


def answer_leave_request(
    session: Session, keys: KeyRing, request: LeaveRequest, queue: QueueMail, *, now: datetime
) -> bool:
    """Queue the mail with the link, if a reader of that address is mailed now and got none within a week."""
    number = people.find_person_number(session, keys, request.sender)
    if number is None or ledger.lock_person(session, number) is None or not audience.may_mail(session, number):
        return False
    lately = (Delivery.person == number, Delivery.purpose.like("leave:%"), Delivery.due_at > now - ANSWER_INTERVAL)
    if session.scalar(select(exists().where(*lately))):
        return False
    queue(session, MailRequest("leave", number, f"{now:%Y%m%dT%H%M%S%f}"))
    return True
