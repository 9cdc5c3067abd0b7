"""Erase an address at SendGrid: off its suppression lists, and out of all else that it keeps."""

import json
from collections.abc import Callable
from dataclasses import replace

from digest.deliver.events.replies import scrub_addresses
from digest.deliver.providers.kind import ErasureOutcome
from digest.deliver.providers.sendgrid.api import SendGridApi, SendGridResponse, describe_api_failure, open_api
from digest.settings import Settings

NEEDED_PERMISSION = (
    "Suppressions, and recipients.erasejob.create, which Twilio's support gives to accounts from before July 2023"
)
# On these an address serves nobody once it is erased here. Complaints and departures are the person's own word to
# SendGrid, which keeps others who mail through the account from writing: they stay.
CLEARED_LISTS = ("bounces", "blocks", "invalid_emails")


def open_eraser(settings: Settings) -> Callable[[str], ErasureOutcome] | None:
    """Return what erases one address; None where there is no key.

    Raises:
        ProviderSettingsError: the key would travel in the clear.
    """
    return make_eraser(open_api(settings)) if settings.provider_variable("sendgrid_api_key") else None


def make_eraser(api: SendGridApi) -> Callable[[str], ErasureOutcome]:
    """Return what erases one address over `api`."""

    def erase(address: str) -> ErasureOutcome:
        response = _request_erasure(api, address)
        if response.status == 202:
            return ErasureOutcome(reference=_job_id(response))
        scrubbed = replace(response, text=scrub_addresses(response.text, address))
        trouble = describe_api_failure(scrubbed, needed_permission=NEEDED_PERMISSION)
        return ErasureOutcome(trouble=trouble, concerns_all=response.status != 400)

    return erase


def _request_erasure(api: SendGridApi, address: str) -> SendGridResponse:
    """Take an address off the lists, then have all else erased: 202 says that both is done."""
    for name in CLEARED_LISTS:
        response = api.call("delete", f"suppression/{name}", body={"emails": [address]})
        if not 200 <= response.status < 300 and response.status != 404:  # 404: it is not on the list
            return response
    return api.call("post", "recipients/erasejob", body={"email_addresses": [address]})


def _job_id(response: SendGridResponse) -> str:
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    job = body.get("job_id") if isinstance(body, dict) else None
    return scrub_addresses(job)[:80] if isinstance(job, str) else ""
