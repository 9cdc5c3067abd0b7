"""The execution of a setup plan, and the remaining steps.

They include DNS records and everything else up to the first edition.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from digest.app.doctor.dmarc import choose_report_address, get_domain, make_report_consent_name
from digest.app.setup.answers import SetupAnswers
from digest.app.setup.plan import SYSTEM_USER, SetupPlan, write_planned_files
from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer, quote_record_text
from digest.deliver.providers.setup_questions import SetupStep
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation, create_key_file, open_installation
from digest.settings import SETTINGS_FILE_NAME, Settings, is_loopback, load_settings
from digest.templating import create_jinja_environment
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError

SET_UP = Action("set up")
AUDIT_SUBJECT = "installation"
# RFC 5737, section 3: an address for documentation, in place of this server's own.
EXAMPLE_ADDRESS = "192.0.2.1"
_ADDRESS_NOTE = "Web pages (enter this server's IP address, and add an AAAA record for IPv6)"
_SPF_NOTE = "SPF (add anything else that sends for this domain)"
_MX_NOTE = (
    "Bounces and replies (for MAILHOST, enter the mail server of this domain; ask the provider of your mailboxes)"
)
_DMARC_NOTE = "DMARC (change to p=quarantine once reports show that all your email passes)"
_REPORT_NOTE = "DMARC (agrees to receive the reports, because their address is at another domain)"
_PTR_NOTE = (
    "PTR record, set by your hosting provider, from this server's IP address to the mail server's name "
    "(with Postfix, set myhostname to that name)"
)


@dataclass(frozen=True, slots=True)
class SetupResult:
    """The result of carrying out a setup plan.

    `problem` is the reason that keys and database couldn't be created, if any. The files are
    written anyway.
    """

    settings: Settings
    new_keys: KeyRing | None = None
    signer: DkimSigner | None = None
    problem: str = ""


def require_setup_permission(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Raise `NotPermittedError` unless the actor is an admin of the existing installation.

    A refusal is recorded in the audit log.
    """
    SET_UP.check_role(installation, actor, AUDIT_SUBJECT, now=now)


def apply_setup_plan(plan: SetupPlan, find_actor: Callable[[Installation], Actor], *, now: datetime) -> SetupResult:
    """Write the files of a plan, and create keys and the database if they're missing. Idempotent.

    Raises:
        SetupError: a file can't be written.
        SettingsError: the new settings can't be used.
    """
    write_planned_files(plan)
    settings = load_settings(plan.settings_file, {})
    signer = load_dkim_signer_if_usable(settings)
    changed = [file.path.name for file in plan.files if file.change != "same"]
    try:
        with open_installation(settings, may_create=True) as installation:
            new_keys = create_key_file(installation)
            if changed:
                actor = find_actor(installation)
                with SET_UP.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (_, draft):
                    draft.detail = {"files": changed}
    except ApplicationError as exc:
        return SetupResult(settings, signer=signer, problem=str(exc))
    return SetupResult(settings, new_keys, signer)


def load_dkim_signer_if_usable(settings: Settings) -> DkimSigner | None:
    """Return the DKIM signer, which provides the DNS records of its keys.

    Return None if email isn't signed or the key file can't be used, which the doctor reports.
    """
    try:
        return load_signer(settings)
    except DkimError:
        return None


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A DNS record that the operator has to publish.

    `note` says what the record is for or what to fill in.
    """

    name: str
    kind: str
    value: str
    note: str

    def __str__(self) -> str:
        """Return the record as a line of a zone file."""
        return f"{self.name}. {self.kind} {self.value}"


def list_dns_records(answers: SetupAnswers, signer: DkimSigner | None) -> Sequence[DnsRecord]:
    """Return the DNS records that email and pages need.

    DKIM keys are included if email is signed here.
    """
    return tuple(_dns_records(answers, signer))


def _dns_records(answers: SetupAnswers, signer: DkimSigner | None) -> Iterator[DnsRecord]:
    if answers.is_behind_proxy:
        yield DnsRecord(answers.host, "A", EXAMPLE_ADDRESS, _ADDRESS_NOTE)
    provider, domain = answers.provider, answers.sender_domain
    if not provider.sends:
        return
    is_here = is_loopback(provider.server_host)
    if provider.server_host:
        server = answers.host if is_here else provider.server_host
        yield DnsRecord(domain, "TXT", f'"v=spf1 a:{server} -all"', _SPF_NOTE)
    if provider.signs_here and signer is not None:
        for key in signer.keys:
            name = f"{key.selector}._domainkey.{signer.domain}"
            yield DnsRecord(name, "TXT", quote_record_text(key.dns_record()), "DKIM")
    yield DnsRecord(domain, "MX", "10 MAILHOST.", _MX_NOTE)
    reports = choose_report_address(answers.sender_address, answers.reply_to)
    yield DnsRecord(f"_dmarc.{domain}", "TXT", f'"v=DMARC1; p=none; rua=mailto:{reports}"', _DMARC_NOTE)
    if not reports.endswith(f"@{domain}"):
        place = make_report_consent_name(domain, get_domain(reports))
        yield DnsRecord(place, "TXT", '"v=DMARC1"', _REPORT_NOTE)
    if is_here:
        yield DnsRecord(ip_address(EXAMPLE_ADDRESS).reverse_pointer, "PTR", f"{answers.host}.", _PTR_NOTE)


def list_remaining_steps(plan: SetupPlan, signer: DkimSigner | None, problem: str = "") -> Sequence[SetupStep]:
    """Return the steps in `templates/setup/steps.txt` that apply to a setup.

    `problem` is the reason that keys and database don't exist yet, if any.
    """
    settings_option = "" if plan.settings_file.name == SETTINGS_FILE_NAME else f" --settings {plan.settings_file.name}"
    facts = {
        "plan": plan,
        "changed": {file.path.name for file in plan.files if file.change == "changed"},
        "answers": plan.answers,
        "provider": plan.answers.provider,
        "records": list_dns_records(plan.answers, signer),
        "problem": " ".join(problem.split()),
        "folder": plan.folder,
        "deploy": plan.folder / "deploy",
        "named": settings_option,
        "user": SYSTEM_USER,
        "digest": f"digest{settings_option}",
        "you": f"you@{plan.answers.reply_to.rpartition('@')[2]}",
    }
    text = create_jinja_environment().get_template("setup/steps.txt").render(facts)
    return [_read_step(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()]


def _read_step(paragraph: str) -> SetupStep:
    lines = paragraph.strip("\n").split("\n")
    title = " ".join(line for line in lines if not line.startswith(" "))
    return SetupStep(title, tuple(line.strip() for line in lines if line.startswith(" ")))
