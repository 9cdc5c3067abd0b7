"""Checks for what would go wrong, before it does: each finding says what to do."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from urllib.parse import urlsplit

from digest.app import page_views
from digest.app.attention import attention_sentences
from digest.app.consent_wordings import current_wording
from digest.app.installation import Installation, InstallationError, missing_key_file
from digest.app.keys import list_files_in_clear
from digest.app.logos import check_logo
from digest.app.mail_gallery import find_rendering_mistakes
from digest.deliver.events.mailbox import poll
from digest.deliver.providers.kind import DoctorFinding, ProviderSettingsError
from digest.deliver.providers.registry import provider_in_use
from digest.settings.leftovers import list_foreign_texts, list_sample_addresses
from digest.store.audit_chain import prove_audit_log
from digest.templating import find_template_mistakes
from subscribers.phrases import join_words

IMPORT_NAMES = ("digest", "subscribers", "scheduler")
LOW_DISK_BYTES = 1_000_000_000  # bytes


def examine_installation(installation: Installation) -> list[DoctorFinding]:
    """Carry out every check; nothing is changed."""
    return [finding for check in CHECKS for finding in check(installation)]


def check_import_names(_install: Installation) -> Iterator[DoctorFinding]:
    """Look whether another distribution owns one of our import names."""
    owners = {name: list(distributions) for name, distributions in metadata.packages_distributions().items()}
    shared = [name for name in IMPORT_NAMES if len(set(owners.get(name, ()))) > 1]
    for name in shared:
        yield DoctorFinding(
            "error",
            f"the import name {name} belongs to {' and '.join(sorted(set(owners[name])))}: "
            "install hls-digest in an environment of its own (pipx, or a venv).",
        )
    if not shared:
        yield DoctorFinding("ok", "nobody else owns our import names")


def check_key_file(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether the key file can be used."""
    file = installation.settings.key_file
    if not file.exists():
        yield DoctorFinding("error", str(missing_key_file(file, installation.database)))
        return
    _ = installation.keys  # raises where it is unreadable or open to others
    yield DoctorFinding("ok", f"{file}: readable by you alone")
    if installation.settings.key_passphrase and not installation.keys.under_passphrase:
        yield DoctorFinding("warning", f"{file}: a passphrase is given and not used. Run 'digest keys protect'.")
    for aside in list_files_in_clear(installation):
        yield DoctorFinding("warning", f"{aside}: these keys stand there without a passphrase. Delete the file.")
    try:
        installation.refuse_demo_keys()
    except InstallationError as exc:
        yield DoctorFinding("error", str(exc))


def check_database(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether the database answers, and whether the settings name a source."""
    yield DoctorFinding("ok", f"the database answers; {page_views.count_active_sources(installation)} sources in it")
    if not installation.settings.file.sources:
        yield DoctorFinding("error", "the settings name no source. Add one with 'digest sources add URL'.")


def check_audit_log(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether every row of the audit log is the one that was written."""
    with installation.database.read() as session:
        proof = prove_audit_log(session)
    if proof.fault:
        yield DoctorFinding("error", f"{proof.fault}. Compare it with a backup, and keep the seals that came by mail.")
    else:
        yield DoctorFinding("ok", f"the audit log holds, {proof.rows:,} rows")


def check_disk_space(installation: Installation) -> Iterator[DoctorFinding]:
    """Look how much space is left where the installation's files are."""
    free = shutil.disk_usage(installation.settings.home).free
    yield DoctorFinding(
        "warning" if free < LOW_DISK_BYTES else "ok", f"{installation.settings.home}: {free // 1_000_000} MB free"
    )


def check_templates(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether the operator's own templates can be read, and make every mail with them."""
    folder = installation.settings.templates
    if folder is None:
        return
    mistakes = find_template_mistakes(folder) or list(find_rendering_mistakes(installation.settings))
    yield from (DoctorFinding("error", mistake) for mistake in mistakes)
    if not mistakes:
        yield DoctorFinding("ok", f"{folder}: your own templates can be read, and every mail was made with them")


def check_own_texts(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether a publication of another name still says what HLS.Today says, or has the sample's addresses."""
    file = installation.settings.file
    if texts := list_foreign_texts(file):
        yield DoctorFinding(
            "error",
            f"the publication is {file.publication.name}, and {join_words(texts)} still say what HLS.Today says. Write your own.",
        )
    if addresses := list_sample_addresses(file):
        yield DoctorFinding(
            "error", f"{join_words(addresses)} still end in the sample's news.example.org: no answer would reach you."
        )


def check_consent_wording(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether what readers agree to names the publication: a consent is given to somebody."""
    name, wording = installation.settings.file.publication.name, current_wording(installation.settings)
    if name.casefold() not in wording.text.casefold():
        yield DoctorFinding(
            "error",
            f"wordings.consent does not name {name}, so readers would not agree to mail from anybody: write {{name}} where "
            "the publication's name belongs.",
        )
    else:
        yield DoctorFinding("ok", f"what readers agree to names {name}; its SHA-256 begins with {wording.hash[:12]}")


def check_postal_address(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether there is a postal address, which every message needs."""
    if not installation.settings.file.sender.postal_address.strip():
        yield DoctorFinding("error", "sender.postal_address is empty: no edition can be approved without it.")


def check_base_url(installation: Installation) -> Iterator[DoctorFinding]:
    """Look whether links are https, as every message needs them."""
    settings = installation.settings
    if urlsplit(settings.link_base).scheme != "https":
        yield DoctorFinding(
            "error",
            f"DIGEST_BASE_URL is {settings.link_base}: one-click links must be https before anything is mailed.",
        )


def check_proxies(installation: Installation) -> Iterator[DoctorFinding]:
    """Look at what the pages can tell of where a form comes from."""
    settings = installation.settings
    if settings.file.limits.proxies or urlsplit(settings.link_base).scheme != "https":
        return
    yield DoctorFinding(
        "warning",
        "DIGEST_BASE_URL is https, so a proxy stands before the pages, and limits.proxies is 0: all forms seem to come "
        "from the proxy, and the limits on one network count nobody or everybody. Set limits.proxies to how many there "
        "are; each must add the address that it was asked from to X-Forwarded-For.",
    )


def report_attention(installation: Installation) -> Iterator[DoctorFinding]:
    """Give the sentences of what somebody should look at now, as warnings."""
    with installation.database.read() as session:
        sentences = attention_sentences(session, datetime.now(UTC), installation.settings.file)
    yield from (DoctorFinding("warning", sentence) for sentence in sentences)


def check_provider(installation: Installation) -> Iterator[DoctorFinding]:
    """Whether mail can leave, signed, and whether what comes back of it is heard."""
    if installation.settings.file.inbound.host:
        yield _check_bounce_mailbox(installation)
    try:
        yield from provider_in_use(installation.settings).doctor_findings(installation.settings)
    except ProviderSettingsError as exc:
        yield DoctorFinding("error", str(exc))


def _check_bounce_mailbox(installation: Installation) -> DoctorFinding:
    place = installation.settings.file.inbound
    name = f"the bounce mailbox {place.folder} at {place.host_and_port}"
    with installation.database.read() as session:
        last = poll.last_mailbox_poll(session)
    if last is None:
        return DoctorFinding(
            "ok", f"{name} was not read yet; 'digest inbound' does it now, 'digest serve' every minute"
        )
    at = f"{last.at.astimezone(installation.settings.file.publication.zone):%b %d %H:%M %Z}"
    if last.trouble:
        return DoctorFinding("error", f"{name} gave trouble {last.troubles} times in a row, last {at}: {last.trouble}")
    if last.stuck:
        return DoctorFinding("error", f"{name} was read last {at}, and {last.stuck}")
    return DoctorFinding("ok", f"{name} was read last {at}")


CHECKS: tuple[Callable[[Installation], Iterator[DoctorFinding]], ...] = (
    check_import_names,
    check_key_file,
    check_database,
    check_audit_log,
    check_disk_space,
    check_templates,
    check_logo,
    check_own_texts,
    check_consent_wording,
    check_postal_address,
    check_base_url,
    check_provider,
    check_proxies,
    report_attention,
)
