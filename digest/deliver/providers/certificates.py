"""Assessing a server certificate's remaining validity, for the doctor."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from digest.deliver.providers.kind import DoctorFinding
from subscribers.english_text import count_with_noun

FEW_DAYS, MANY_DAYS = 7, 21  # days of validity that are required, and that are recommended


def read_certificate_end(certificate: Mapping[str, Any] | None) -> datetime | None:
    """Return when a certificate expires, or None if there's none.

    `certificate` is the result of `getpeercert`.
    """
    if not certificate:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)


def judge_certificate(check: str, server: str, valid_until: datetime | None, now: datetime) -> DoctorFinding:
    """Return a finding about a certificate that TLS accepted, based on the days until it expires."""
    if valid_until is None:
        return DoctorFinding(check, "ok", f"{server} responds, without TLS")
    days = (valid_until - now).days
    if days >= MANY_DAYS:
        return DoctorFinding(
            check, "ok", f"{server} responds, and its certificate is valid until {valid_until:%Y-%m-%d}"
        )
    return DoctorFinding(
        check,
        "error" if days < FEW_DAYS else "warning",
        f"The certificate of {server} expires in {count_with_noun(max(days, 0), 'day')}, on {valid_until:%Y-%m-%d}.",
        "Renew the certificate, and set up automatic renewal (such as certbot renew).",
    )
