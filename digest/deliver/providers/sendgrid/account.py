"""The SendGrid account: checking its settings, and erasing an address from it.

The checks cover the key's permissions, open and click tracking, and the authenticated domains.
Erasing an address removes it from the suppression lists and from all other data.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.providers.kind import DoctorFinding, ErasureOutcome
from digest.deliver.providers.sendgrid.api import (
    SendGridApi,
    SendGridResponse,
    describe_api_failure,
    open_api,
    read_api_account,
)
from digest.settings import Settings

CHECK = "provider-account"
SEND_SCOPE = "mail.send"
SPF_INCLUDE = "sendgrid.net"
TRACKING = {"open": "opens", "click": "clicks"}  # `/v3/tracking_settings/<name>`
MAX_DOMAINS = 200  # maximum authenticated domains of an account


def check_account(settings: Settings, timeout: float) -> Iterator[DoctorFinding]:
    """Yield findings about the key's permissions, open and click tracking, and our domain.

    The account must sign for the domain.
    """
    api = SendGridApi(*read_api_account(settings), timeout=timeout)
    response = api.call("get", "scopes")
    if response.status != 200:
        yield _failure(response, SEND_SCOPE)
        return
    if SEND_SCOPE not in _read_json(response).get("scopes", ()):
        yield DoctorFinding(
            CHECK,
            "error",
            "SendGrid's API key doesn't allow sending email.",
            f"Add the permission {SEND_SCOPE} to the key, or create another.",
        )
    else:
        yield DoctorFinding(CHECK, "ok", "SendGrid's API key allows sending email")
    for name, tracked_action in TRACKING.items():
        yield _judge_tracking(api.call("get", f"tracking_settings/{name}"), tracked_action)
    yield _judge_domain(api, settings.file.sender.address.rpartition("@")[2].lower())


def is_authenticated(settings: Settings, domain: str, timeout: float) -> bool:
    """Return True if SendGrid signs for a domain.

    Return False if there's no API key or SendGrid doesn't say.
    """
    if not settings.provider_variable("sendgrid_api_key"):
        return False
    return _is_among(_list_domains(SendGridApi(*read_api_account(settings), timeout=timeout)), domain)


def _judge_tracking(response: SendGridResponse, tracked_action: str) -> DoctorFinding:
    if response.status in {401, 403}:
        return DoctorFinding(
            CHECK,
            "warning",
            f"SendGrid's API key can't read whether the account tracks {tracked_action}.",
            "Add the permission to read Tracking to the key, or check under Settings → Tracking.",
        )
    if response.status != 200:
        return _failure(response, "tracking_settings.read")
    fields = _read_json(response)
    if fields.get("enabled") or fields.get("enable_text"):
        return DoctorFinding(
            CHECK,
            "warning",
            f"SendGrid's account tracks {tracked_action}, although each email asks it not to.",
            "Turn tracking off under Settings → Tracking, because subscribers are promised no tracking.",
        )
    return DoctorFinding(CHECK, "ok", f"SendGrid's account doesn't track {tracked_action}")


def _judge_domain(api: SendGridApi, domain: str) -> DoctorFinding:
    domains = _list_domains(api)
    if _is_among(domains, domain):
        return DoctorFinding(CHECK, "ok", f"SendGrid is authenticated for {domain}")
    broken = any(entry.get("domain") == domain for entry in domains)
    message = f"SendGrid isn't authenticated for {domain}" + (
        " because its DNS records are missing." if broken else ", so DMARC fails."
    )
    return DoctorFinding(
        CHECK,
        "error",
        message,
        f"Authenticate {domain} under Settings → Sender Authentication, and publish its DNS records.",
    )


def _is_among(domains: list[dict[str, Any]], domain: str) -> bool:
    return any(
        entry.get("valid") is True and (domain == entry.get("domain") or domain.endswith(f".{entry.get('domain')}"))
        for entry in domains
    )


def _list_domains(api: SendGridApi) -> list[dict[str, Any]]:
    response = api.call("get", "whitelabel/domains", query={"limit": MAX_DOMAINS})
    try:
        entries = json.loads(response.body) if response.status == 200 else []
    except (ValueError, RecursionError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _read_json(response: SendGridResponse) -> dict[str, Any]:
    try:
        fields = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _failure(response: SendGridResponse, permission: str) -> DoctorFinding:
    return DoctorFinding(CHECK, "error", f"{describe_api_failure(response, needed_permission=permission)}.")


NEEDED_PERMISSION = (
    "Suppressions and recipients.erasejob.create, which Twilio support grants to accounts from before July 2023"
)
# Erased addresses aren't needed on these lists. Complaints and unsubscribes stay: they're the
# person's own statements to SendGrid, and keep other users of the account from emailing them.
CLEARED_LISTS = ("bounces", "blocks", "invalid_emails")


def find_address_eraser(settings: Settings) -> Callable[[str], ErasureOutcome] | None:
    """Return a function that erases an address, or None if the settings have no API key.

    Raises:
        ProviderSettingsError: the key would be sent unencrypted.
    """
    return make_address_eraser(open_api(settings)) if settings.provider_variable("sendgrid_api_key") else None


def make_address_eraser(api: SendGridApi) -> Callable[[str], ErasureOutcome]:
    """Return a function that uses `api` to erase an address."""

    def erase(address: str) -> ErasureOutcome:
        response = _request_erasure(api, address)
        if response.status == 202:
            return ErasureOutcome(reference=_job_id(response))
        scrubbed = replace(response, text=scrub_addresses(response.text, address))
        trouble = describe_api_failure(scrubbed, needed_permission=NEEDED_PERMISSION)
        return ErasureOutcome(trouble=trouble, concerns_all=response.status != 400)

    return erase


def _request_erasure(api: SendGridApi, address: str) -> SendGridResponse:
    """Remove an address from the lists, and request the erasure of all other data.

    A status of 202 means that both succeeded.
    """
    for name in CLEARED_LISTS:
        response = api.call("delete", f"suppression/{name}", body={"emails": [address]})
        if not 200 <= response.status < 300 and response.status != 404:  # 404 means that it isn't on the list
            return response
    return api.call("post", "recipients/erasejob", body={"email_addresses": [address]})


def _job_id(response: SendGridResponse) -> str:
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    job = body.get("job_id") if isinstance(body, dict) else None
    return scrub_addresses(job)[:80] if isinstance(job, str) else ""
