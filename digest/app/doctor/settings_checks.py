"""Checks of the settings: the file, the publication's texts, the sender, links, templates, and sending."""

import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, datetime
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import select

from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    DoctorFindings,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_ok,
    report_unexamined,
    report_warning,
)
from digest.app.doctor.file_access import advise_write_access
from digest.app.editions.sample_emails import find_rendering_mistakes
from digest.app.subscribers.consent_texts import build_consent_text
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.collect.sources.source_rows import VisitFailure
from digest.collect.visits.source_visit import VisitResult, VisitTarget, visit_source
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.providers.registry import EXAMPLE_LINE, is_outbox_in_use, join_provider_remedies, provider_in_use
from digest.edition.brand_images import find_logo_problems
from digest.folder_owner import is_writable
from digest.settings import SettingsError, SourceSettings, is_local_url, reload_settings
from digest.settings.leftover_sample_values import list_leftover_texts, list_sample_addresses, list_sample_sources
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from digest.template_markup import list_markup_mistakes
from digest.templating import find_template_mistakes
from subscribers.english_text import count_with_noun, join_words, month_day, sentence, short_day_and_hour
from subscribers.signup.mailbox_identity import is_large_provider
from subscribers.store.models import Person, PersonState


@doctor_check("settings", "Correct the listed settings.")
def check_settings(examined: ExaminedInstallation) -> DoctorFindings:
    """The settings file is valid, and only its owner can change it."""
    settings = examined.settings
    file = settings.origin
    if file is None:
        yield report_warning(
            "There's no settings file, so all settings use their default values.",
            "Create a settings file with 'digest init', or set DIGEST_SETTINGS to the path of an existing one.",
        )
        return
    try:
        reload_settings(settings)
    except SettingsError as exc:
        yield report_error(exc.message, exc.remedy)
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o022:
        yield report_warning(f"Other users can change {file} (mode {mode:04o}).", f"Run: chmod 644 {file}")
    elif locked := next((path for path in (file.absolute(), file.absolute().parent) if not is_writable(path)), None):
        yield report_warning(
            f"Can't write to {locked}, so settings and sources can't be changed in the browser.",
            advise_write_access(settings, locked, "u+w"),
        )
    else:
        yield report_ok(f"all settings in {file} are valid")


@doctor_check("sources", "Run 'digest sources add URL'.")
def check_sources(examined: ExaminedInstallation) -> DoctorFindings:
    """The settings list at least one source."""
    count = len(examined.settings.file.sources)
    yield report_ok(f"{count} in the settings") if count else report_error("The settings have no sources.")


@doctor_check(
    "source-answers",
    "Run 'digest sources test URL'. Correct the URL, ask the publisher to unblock this server, or wait.",
    is_online=True,
)
def check_source_answers(examined: ExaminedInstallation) -> DoctorFindings:
    """Every source responds with readable content."""
    settings = examined.settings
    sources = [source for source in settings.file.sources if not source.paused]
    workers = settings.file.limits.fetch_workers
    with open_fetcher(settings) as fetcher, ThreadPoolExecutor(workers, thread_name_prefix="source") as pool:
        visits = list(pool.map(partial(_visit_without_storing, fetcher, examined.now), sources))
    failures = [visit.outcome.message for visit in visits if isinstance(visit.outcome, VisitFailure)]
    if len(failures) == len(visits) > 1:
        yield report_unexamined(
            f"None of the {len(visits)} sources can be read. The first: {failures[0]}",
            "Check this server's internet access, firewall, and name servers (/etc/resolv.conf).",
        )
        return
    answers = []
    for source, visit in zip(sources, visits, strict=True):
        if isinstance(visit.outcome, VisitFailure):
            yield report_warning(f"{source.name} {_explain_silence(source, visit.outcome)}")
        else:
            items = len(visit.document.items) if visit.document else 0
            answers.append(f"{source.name} ({count_with_noun(items, 'item')})")
    if answers:
        yield report_ok(f"{len(answers)} of {len(sources)} sources responded: {join_words(answers)}")


def _visit_without_storing(fetcher: ContentFetcher, now: datetime, source: SourceSettings) -> VisitResult:
    return visit_source(fetcher, VisitTarget(0, source.name, source.url, source.url), now)


def _explain_silence(source: SourceSettings, failure: VisitFailure) -> str:
    reason = failure.message.rstrip(".")
    if not source.checked:
        return f"can't be read: {reason}."
    day = date.fromisoformat(source.checked)
    return f"can't be read, though it could be on {month_day(day)}, {day.year}: {reason}."


@doctor_check("templates")
def check_templates(examined: ExaminedInstallation) -> DoctorFindings:
    """Custom templates work for every email, and their HTML tags are closed."""
    settings = examined.settings
    folder = settings.templates
    if folder is None:
        return
    if folder.is_file():
        yield report_error(
            f"{folder} is a file, not a folder, so the built-in templates are used.",
            f"Correct or remove DIGEST_TEMPLATES in {settings.environment_place}.",
        )
        return
    if not folder.is_dir():
        yield report_error(
            f"The folder {folder} doesn't exist, so the built-in templates are used.",
            f"Create the folder, or correct or remove DIGEST_TEMPLATES in {settings.environment_place}.",
        )
        return
    # A file that can't be parsed fails with the same message in every email, so each message is
    # shown once.
    mistakes = tuple(dict.fromkeys((*find_template_mistakes(folder), *find_rendering_mistakes(settings))))
    yield from (report_error(mistake) for mistake in mistakes)
    markup_mistakes = list_markup_mistakes(folder)
    yield from (report_warning(mistake) for mistake in markup_mistakes)
    if not mistakes and not markup_mistakes:
        yield report_ok(f"custom templates in {folder} work for every email")


@doctor_check("logo")
def check_logo(examined: ExaminedInstallation) -> DoctorFindings:
    """The logo and header image are stored, and the logo shows on light and dark screens."""
    settings = examined.settings
    branding = settings.file.branding
    if branding.logo and settings.logo is None:
        yield report_error(
            f"The settings use the logos {branding.logo} and {branding.logo_dark}, but they aren't both stored here, so "
            "the publication's name is shown instead.",
            "Run 'digest media add FILE' for each and add the names it prints under [branding] in "
            f"{settings.settings_place}, or remove both settings.",
        )
    if branding.header and settings.header is None:
        yield report_error(
            f"The settings use the header image {branding.header}, but it isn't stored here, so none is shown.",
            f"Run 'digest media add --header FILE' and add the name it prints as branding.header in {settings.settings_place}.",
        )
    with examined.read() as session:
        problems = list(find_logo_problems(session, branding))
    for problem in problems:
        report = report_error if problem.level == "error" else report_warning
        yield report(problem.message, problem.advice)


@doctor_check("own-texts")
def check_default_texts(examined: ExaminedInstallation) -> DoctorFindings:
    """No texts, addresses, or sources are HLS.Today's or the sample's."""
    file, place = examined.settings.file, examined.settings.settings_place
    if texts := list_leftover_texts(file):
        yield report_error(
            f"The publication is {file.publication.name}, but some settings still contain HLS.Today's texts "
            f"({join_words(texts)}).",
            f'Enter your own text in {place}. For example, set publication.tagline in the line tagline = "…" '
            "under [publication].",
        )
    if addresses := list_sample_addresses(file):
        yield report_error(
            f"The sample's domain (news.example.org) is still used for {join_words(addresses)}. Replies to that domain "
            "won't reach you.",
            f"Use addresses at your own domain under [sender] in {place}.",
        )
    if sources := list_sample_sources(file):
        yield report_warning(
            f"The settings still contain sample sources with made-up publishers ({join_words(sources)}).",
            f"Remove the sources' [[sources]] entries from {place}, or remove each source on the Sources page.",
        )


@doctor_check("consent-wording")
def check_consent_text(examined: ExaminedInstallation) -> DoctorFindings:
    """The consent text includes the publication's name."""
    settings = examined.settings
    name, wording = settings.file.publication.name, build_consent_text(settings)
    if name.casefold() in wording.text.casefold():
        yield report_ok(f"consent text includes the name {name} (SHA-256 {wording.hash[:12]})")
    else:
        yield report_error(
            f"The consent text doesn't include {name}, so it doesn't say whose emails people agree to.",
            f"Add {{name}} to the consent text, in the line text under [consent] in {settings.settings_place}.",
        )


@doctor_check("postal-address")
def check_postal_address(examined: ExaminedInstallation) -> DoctorFindings:
    """There's a postal address, as CAN-SPAM requires (15 USC 7704)."""
    settings = examined.settings
    if not settings.file.sender.postal_address.strip():
        remedy = "Enter a street address, a registered PO box, or a commercial mailbox."
        change = advise_key_change(settings, "sender", 'postal_address = "1 Main St, Springfield"')
        yield report_error(
            "No postal address is set (sender.postal_address), so editions can't be approved.",
            f"{remedy} {change}",
            page_remedy=remedy,
        )


@doctor_check("base-url")
def check_base_url(examined: ExaminedInstallation) -> DoctorFindings:
    """Links use https, as one-click unsubscribe requires (RFC 8058, section 3.1)."""
    settings = examined.settings
    base = settings.link_base
    if urlsplit(base).scheme != "https":
        suggested_url = "https://news.example.org" if is_local_url(base) else base.replace("http://", "https://", 1)
        yield report_error(
            f"DIGEST_BASE_URL is {base}, but one-click unsubscribe links must use https.",
            "Enter the public https URL of these pages. "
            + advise_variable_change(settings, f"DIGEST_BASE_URL={suggested_url}"),
        )
    else:
        yield report_ok(f"links start with {base}")


@doctor_check("proxies")
def check_proxies(examined: ExaminedInstallation) -> DoctorFindings:
    """The pages receive visitors' IP addresses."""
    settings = examined.settings
    if settings.file.limits.proxies or urlsplit(settings.link_base).scheme != "https":
        return
    remedy = "Configure each proxy to add the client's IP address to X-Forwarded-For, and set the number of proxies."
    yield report_warning(
        "The pages are behind a proxy (DIGEST_BASE_URL is https), but limits.proxies is 0. All sign-ups seem "
        "to come from the proxy, so the per-network limits don't work.",
        f"{remedy} {advise_key_change(settings, 'limits', 'proxies = 1')}",
        page_remedy=remedy,
    )


@doctor_check("sender-domain")
def check_sender_domain(examined: ExaminedInstallation) -> DoctorFindings:
    """The sender's address is at your domain."""
    settings = examined.settings
    domain = settings.file.sender.address.rpartition("@")[2].lower()
    if is_large_provider(domain):
        line = f'address = "digest@{urlsplit(settings.link_base).hostname}"'
        yield report_error(
            f"The sender's address is at {domain}, where anyone can have a mailbox. You can't publish DNS records there, so "
            "mailbox providers reject your email (DMARC).",
            f"Use an address at your own domain. {advise_key_change(settings, 'sender', line)}",
        )


@doctor_check("provider", "Correct DIGEST_MAIL_URL, such as smtp://user:password@host:587.")
def check_provider(examined: ExaminedInstallation) -> DoctorFindings:
    """The settings for sending email are valid."""
    settings = examined.settings
    kind = provider_in_use(settings)
    with closing(kind.open(settings)):
        if not is_outbox_in_use(settings) or is_local_url(settings.link_base):
            yield report_ok(f"email is sent with {kind.title}")
            return
    if not _has_subscribers(examined):
        yield report_ok("email is written to files, and there are no subscribers yet")
    else:
        yield report_error(
            "Subscribers don't get any email, because DIGEST_MAIL_URL writes it to files (outbox:).",
            f"Enter your mail server. {advise_variable_change(settings, EXAMPLE_LINE)}",
        )


def run_named_provider_check(name: str, examined: ExaminedInstallation) -> DoctorFindings:
    """Yield the provider's findings for one check.

    Before there are subscribers, problems with bounces and events are left out.
    """
    settings = examined.settings
    is_early = name in {"bounces", "provider-events"} and not _has_subscribers(examined)
    for finding in provider_in_use(settings).doctor_findings(settings):
        if finding.check == name and (finding.level == "ok" or not is_early):
            yield finding


def _has_subscribers(examined: ExaminedInstallation) -> bool:
    subscribers = select(Person.number).where(Person.state == PersonState.SUBSCRIBED)
    with examined.read() as session:
        return session.scalar(subscribers.limit(1)) is not None


# The checks that providers run themselves, by the names in their findings.
for name, meaning, remedy in (
    (
        "signing",
        "Email is signed (DKIM)",
        (
            "Set DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR, and DIGEST_DKIM_KEY_FILE, or configure your mail "
            "server to sign."
        ),
    ),
    ("bounces", "Bounces are read", ""),
    ("provider-events", "The provider's events are received", join_provider_remedies("provider-events")),
):
    DOCTOR_CHECKS.add(DoctorCheck(name, meaning, remedy, partial(run_named_provider_check, name)))


@doctor_check("bounce-mailbox", "Check [inbound] and the mail server, then run 'digest inbound'.")
def check_bounce_mailbox(examined: ExaminedInstallation) -> DoctorFindings:
    """The bounce mailbox can be read."""
    installation = examined.installation
    place = installation.settings.file.inbound
    if not place.host:
        return
    name = f"The bounce mailbox {place.folder} at {place.host_and_port}"
    with installation.read() as session:
        last = poll.read_last_mailbox_poll(session)
    if last is None:
        yield report_ok(f"{name} hasn't been read yet; 'digest serve' reads it every minute")
        return
    remedy = (
        f"Correct host, user, and folder under [inbound] in {installation.settings.settings_place}, and "
        f"DIGEST_INBOUND_PASSWORD in {installation.settings.environment_place}. To test them, run 'digest "
        "inbound'."
    )
    at = short_day_and_hour(last.at.astimezone(installation.settings.zone))
    if last.trouble:
        yield report_error(
            f"{name} can't be read ({count_with_noun(last.troubles, 'failed attempt')}, the latest {at}). {sentence(last.trouble)}",
            remedy,
        )
    elif last.stuck:
        yield report_error(f"{name} was last read {at}, but {last.stuck.rstrip('.')}.", remedy)
    else:
        yield report_ok(f"{name} was last read {at}")
