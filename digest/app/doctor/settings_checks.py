"""What the settings say: the file itself, the publication's texts, the sender, links, templates, sending."""

import stat
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from urllib.parse import urlsplit

from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_fine,
    report_warning,
)
from digest.app.editions.mail_gallery import find_rendering_mistakes
from digest.app.subscribers.consent_wordings import current_wording
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.providers.kind import DoctorFinding
from digest.deliver.providers.registry import provider_in_use, provider_remedy
from digest.settings import SettingsError, leads_to_this_machine, reload_settings
from digest.settings.leftovers import list_foreign_texts, list_sample_addresses, list_sample_sources
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from digest.templating import find_template_mistakes
from subscribers.phrases import join_words


@doctor_check("settings", "Mend the keys that are named.")
def check_settings(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the settings file can be used as it stands now, and only its owner may change it."""
    settings = examined.settings
    file = settings.origin
    if file is None:
        yield report_warning(
            "there is no settings file: everything is as shipped.",
            "Write one with 'digest init', or name it in DIGEST_SETTINGS.",
        )
        return
    try:
        reload_settings(settings)
    except SettingsError as exc:
        yield report_error(exc.message, exc.remedy)
        return
    if (mode := stat.S_IMODE(file.stat().st_mode)) & 0o022:
        yield report_warning(f"{file}: other users may change it (mode {mode:04o}).", f"Run: chmod 644 {file}")
    else:
        yield report_fine(f"{file}: every key of it can be used")


@doctor_check("sources", "Add one with 'digest sources add URL', or under Sources at the desk.")
def check_sources(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the settings name a source."""
    count = len(examined.settings.file.sources)
    yield report_fine(f"the settings name {count}") if count else report_error("the settings name no source.")


@doctor_check(
    "templates",
    "Correct the line that is named, or take the file out of the folder DIGEST_TEMPLATES.",
    tells_remedy=True,
)
def check_templates(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the operator's own templates can be read, and every mail can be made with them."""
    settings = examined.settings
    folder = settings.templates
    if folder is None:
        return
    # Each once: a file that cannot be parsed fails in every mail too, in the same words.
    mistakes = tuple(dict.fromkeys((*find_template_mistakes(folder), *find_rendering_mistakes(settings))))
    yield from (report_error(mistake) for mistake in mistakes)
    if not mistakes:
        yield report_fine(f"{folder}: your own templates can be read, and every mail was made with them")


@doctor_check("logo", "Add them with 'digest media add FILE', or under Settings, Look.")
def check_logo(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the logo that the settings name is kept."""
    settings = examined.settings
    look = settings.file.look
    if look.logo and settings.logo is None:
        yield report_error(
            f"look.logo and look.logo_dark name {look.logo} and {look.logo_dark}, and not both are kept here: the name "
            "stands in letters.",
            f"Run 'digest media add FILE' for each and write the names that it prints under [look] in {settings.settings_place}, or take "
            "both lines out.",
        )


@doctor_check("own-texts", "Write your own into digest.toml, or under Settings.")
def check_own_texts(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a publication of another name still says what HLS.Today or its sample says, or has the sample's addresses or sources."""
    file, place = examined.settings.file, examined.settings.settings_place
    if texts := list_foreign_texts(file):
        yield report_error(
            f"the publication is {file.publication.name}, and {join_words(texts)} still say what HLS.Today or its sample says.",
            f'Write your own for each into {place}: publication.tagline, say, is the line tagline = "…" under [publication].',
        )
    if addresses := list_sample_addresses(file):
        yield report_error(
            f"{join_words(addresses)} still end in the sample's news.example.org: no answer would reach you.",
            f"Write names at a domain of your own under [sender] in {place}.",
        )
    if sources := list_sample_sources(file):
        yield report_warning(
            f"sources of the sample are left, whose publishers are invented: {join_words(sources)}.",
            f"Take their [[sources]] out of {place}, or each out under Sources at the desk.",
        )


@doctor_check("consent-wording", "Write {name} into wordings.consent where the publication's name belongs.")
def check_consent_wording(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether what readers agree to names the publication: a consent is given to somebody."""
    settings = examined.settings
    name, wording = settings.file.publication.name, current_wording(settings)
    if name.casefold() in wording.text.casefold():
        yield report_fine(f"what readers agree to names {name}; its SHA-256 begins with {wording.hash[:12]}")
    else:
        yield report_error(
            f"wordings.consent does not name {name}, so readers would not agree to mail from anybody.",
            f"Write {{name}} where the publication's name belongs, in the line consent under [wordings] in {settings.settings_place}.",
        )


@doctor_check("postal-address", "Set sender.postal_address to a street, a registered box or a commercial mail address.")
def check_postal_address(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether there is a postal address, which every message needs (CAN-SPAM, 15 USC 7704)."""
    settings = examined.settings
    if not settings.file.sender.postal_address.strip():
        yield report_error(
            "sender.postal_address is empty: no edition can be approved without it.",
            "Write your own, a street, a registered box or a commercial mail address: "
            + advise_key_change(settings, "sender", 'postal_address = "1 Main St, Springfield"'),
        )


@doctor_check("base-url", "Set DIGEST_BASE_URL to the https address at which readers reach these pages.")
def check_base_url(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether links are https, as one-click unsubscribing demands (RFC 8058, section 3.1)."""
    settings = examined.settings
    base = settings.link_base
    if urlsplit(base).scheme != "https":
        wanted = "https://news.example.org" if leads_to_this_machine(base) else base.replace("http://", "https://", 1)
        yield report_error(
            f"DIGEST_BASE_URL is {base}: one-click links must be https before anything is mailed.",
            "Write the https address at which readers reach these pages: "
            + advise_variable_change(settings, f"DIGEST_BASE_URL={wanted}"),
        )
    else:
        yield report_fine(f"links begin with {base}")


@doctor_check(
    "proxies",
    "Set limits.proxies to how many there are; each must add the address that it was asked from to X-Forwarded-For.",
)
def check_proxies(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the pages can tell where a form comes from."""
    settings = examined.settings
    if settings.file.limits.proxies or urlsplit(settings.link_base).scheme != "https":
        return
    yield report_warning(
        "DIGEST_BASE_URL is https, so a proxy stands before the pages, and limits.proxies is 0: all forms seem to come "
        "from the proxy, and the limits on one network count nobody or everybody.",
        "Let each proxy add the address that it was asked from to X-Forwarded-For, and write how many stand one behind the other: "
        + advise_key_change(settings, "limits", "proxies = 1"),
    )


@doctor_check("provider", "Set DIGEST_MAIL_URL right, such as smtp://user:password@host:587.")
def check_provider(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the way that mail takes out can be opened with these settings; nothing is sent."""
    settings = examined.settings
    kind = provider_in_use(settings)
    with closing(kind.open(settings)):
        yield report_fine(f"mail goes out by {kind.title}")


def examine_provider(name: str, examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Yield the findings of one name that the provider in use has of itself."""
    settings = examined.settings
    yield from (f for f in provider_in_use(settings).doctor_findings(settings) if f.check == name)


# What providers look at themselves, by the names that they give their findings.
for name, meaning, remedy in (
    (
        "signing",
        "Whether mail is signed (DKIM) with a key that can be used",
        "Set DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR and DIGEST_DKIM_KEY_FILE, or let your mail server sign.",
    ),
    ("bounces", "Whether bounces come back to where they are read", "Set [inbound] and sender.bounce_domain."),
    ("provider-events", "Whether the provider's events are heard", provider_remedy("provider-events")),
):
    DOCTOR_CHECKS.add(DoctorCheck(name, meaning, remedy, partial(examine_provider, name)))


@doctor_check(
    "bounce-mailbox", "Look at [inbound] and at the mail server; 'digest inbound' reads it now and says what happens."
)
def check_bounce_mailbox(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the mailbox that bounces come to was read the last time."""
    installation = examined.installation
    place = installation.settings.file.inbound
    if not place.host:
        return
    name = f"the bounce mailbox {place.folder} at {place.host_and_port}"
    with installation.read() as session:
        last = poll.last_mailbox_poll(session)
    if last is None:
        yield report_fine(f"{name} was not read yet; 'digest inbound' does it now, 'digest serve' every minute")
        return
    remedy = (
        f"Correct host, user and folder under [inbound] in {installation.settings.settings_place}, and DIGEST_INBOUND_PASSWORD in "
        f"{installation.settings.environment_place}; 'digest inbound' tries them at once."
    )
    at = f"{last.at.astimezone(installation.settings.file.publication.zone):%b %d %H:%M %Z}"
    if last.trouble:
        yield report_error(
            f"{name} gave trouble {last.troubles} times in a row, last {at}: {last.trouble.rstrip('.')}.", remedy
        )
    elif last.stuck:
        yield report_error(f"{name} was read last {at}, and {last.stuck.rstrip('.')}.", remedy)
    else:
        yield report_fine(f"{name} was read last {at}")
