"""What the commands about people share: who is meant, why, and the line in the audit log."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.orm import Session

from digest.cli.context import Desk
from digest.db import Audit
from subscribers.addresses import Address, AddressError, read_address


class Refused(click.ClickException):
    """It cannot be done, and what stands in the way can be mended; the message never holds an address."""

    exit_code = 1


def reason_in_words(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check a reason: it stands in chains, disclosures and the audit log, which hold no reader's address."""
    if text is not None and ("@" in text or not text.strip() or len(text) > 150):
        raise click.BadParameter("write a few words (at most 150 characters), with no address among them")
    return text


def read(email: str) -> Address:
    """Read the address that a command got; `-` takes it from standard input.

    Raises:
        Refused: it is no address.
    """
    try:
        return read_address(sys.stdin.readline() if email == "-" else email)
    except AddressError as exc:
        raise Refused(f"Not done: {exc}") from None


def audit(session: Session, desk: Desk, act: str, subject: str, detail: dict[str, Any]) -> None:
    """Write down who did what."""
    session.add(Audit(at=datetime.now(UTC), actor=desk.actor, act=act, subject=subject, detail=detail))
