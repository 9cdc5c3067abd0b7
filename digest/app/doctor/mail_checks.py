"""What others see of our mail: SPF, DKIM, DMARC, exchangers and reverse names; mail servers, the provider's account."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from digest.app.doctor import dmarc, spf
from digest.app.doctor.check_registry import (
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_fine,
    report_warning,
)
from digest.app.doctor.outside_world import NameLookup
from digest.deliver.compose.dkim import SigningKey, load_signer, quote_record_text
from digest.deliver.inbound.imap import examine_mailbox
from digest.deliver.providers.certificates import judge_certificate
from digest.deliver.providers.kind import DoctorFinding, MailServer, MailServerFacts
from digest.deliver.providers.registry import provider_in_use, provider_remedy
from digest.settings import Settings, is_loopback
from digest.settings.setting_lines import advise_key_change, advise_variable_change

WEAK_BITS, SHORT_BITS = 1024, 2048  # RFC 8301, section 3.2: fewer must not be used, fewer should not
NULL_EXCHANGER = "."  # RFC 7505, section 3


def _sender_domain(settings: Settings) -> str:
    return settings.file.sender.address.rpartition("@")[2].lower()


def _bounce_domain(settings: Settings) -> str:
    """Return the domain of the return path."""
    return settings.file.sender.bounce_domain.lower() or _sender_domain(settings)


def _examine_server(examined: ExaminedInstallation, server: MailServer) -> MailServerFacts:
    return server.examine(examined.settings, examined.outside.tls, examined.outside.timeout)


def _find_sending_host(examined: ExaminedInstallation, server: MailServer) -> str:
    """Find the name of the host that hands our mail to the world: a server on this machine says its own."""
    host = server.host(examined.settings)
    return _examine_server(examined, server).name if is_loopback(host) else host.lower()


@doctor_check(
    "mail-server",
    "Look at DIGEST_MAIL_URL, and whether the server runs and its certificate is for its name.",
    is_online=True,
)
def check_mail_server(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the mail server answers, over TLS that can be trusted, and lets us sign in."""
    settings = examined.settings
    kind = provider_in_use(settings)
    if kind.mail_server is None:
        yield report_fine("no mail server of ours is used")
        return
    facts = _examine_server(examined, kind.mail_server)
    yield judge_certificate("", kind.mail_server.host(settings), facts.valid_until, examined.now)


@doctor_check("inbound-server", "Look at [inbound] and DIGEST_INBOUND_PASSWORD.", is_online=True)
def check_inbound_server(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the bounce mailbox can be opened, over TLS that can be trusted; nothing in it is touched."""
    settings = examined.settings
    inbound, password = settings.file.inbound, settings.inbound_password
    if not inbound.host or password is None:
        return
    valid_until = examine_mailbox(inbound, password.get_secret_value(), examined.outside.tls)
    yield judge_certificate("", inbound.host, valid_until, examined.now)


@doctor_check("provider-account", provider_remedy("provider-account"), is_online=True, tells_remedy=True)
def check_provider_account(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the provider's account takes our key, signs in our name, and counts neither opens nor clicks."""
    settings = examined.settings
    account = provider_in_use(settings).account
    if account is not None:
        yield from account.findings(settings, examined.outside.timeout)


@doctor_check(
    "spf",
    "Publish one TXT record that begins with v=spf1, names what sends for the domain, and ends in -all or ~all.",
    is_online=True,
)
def check_spf(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether SPF (RFC 7208, section 4) of the return path's domain lets our mail through, and nobody else's."""
    settings = examined.settings
    kind = provider_in_use(settings)
    if kind.mail_server is not None:
        host = _find_sending_host(examined, kind.mail_server)
        yield from _judge_spf(examined, _bounce_domain(settings), f"a:{host}", host)
    elif kind.account is not None:
        domain = _sender_domain(settings)
        if kind.account.is_authenticated(settings, domain, examined.outside.timeout):
            yield report_fine(f"{kind.title} uses a return path of its own within {domain}")
        else:
            yield from _judge_spf(examined, domain, f"include:{kind.account.spf_include}", kind.account.spf_include)


def _judge_spf(examined: ExaminedInstallation, domain: str, term: str, sender: str) -> Iterator[DoctorFinding]:
    """Judge the record of a domain for which `sender` sends, a host or what providers have included as `term`."""
    names = examined.outside.names
    survey = spf.survey_spf(names, domain)
    if not survey.records:
        yield report_error(
            f"{domain} has no SPF record.", f"Enter into the DNS: {_record_line(domain, f'v=spf1 {term} -all')}"
        )
        return
    if len(survey.records) > 1:
        yield _merge_spf_records(names, domain, survey.records, term, sender)
        return
    yield from (report_error(problem, remedy) for problem, remedy in survey.problems)
    yield from _judge_spf_ending(domain, survey)
    yield _judge_spf_sender(domain, survey, term, sender, names.find_addresses(sender))


def _merge_spf_records(names: NameLookup, domain: str, records: list[str], term: str, sender: str) -> DoctorFinding:
    together = spf.survey_text(names, domain, spf.write_record(records))
    is_named = together.includes_owner(sender) or together.lets_through(names.find_addresses(sender))
    missing = "" if is_named else term
    record = spf.write_record(records, missing)
    added = f", and what sends now ({missing})," if missing else ""
    return report_error(
        f"{domain} has {len(records)} SPF records, so none of them counts.",
        f"Take them out of the DNS and enter this one, which lets through all that any of them named{added} and ends in "
        f"{_explain_all_term(record, records)}: {_record_line(domain, record)}",
    )


def _judge_spf_ending(domain: str, survey: spf.SpfSurvey) -> Iterator[DoctorFinding]:
    corrected = f"Enter it into the DNS as: {_record_line(domain, spf.write_record(survey.records))}"
    if survey.all_qualifier == "+":
        yield report_error(f"SPF of {domain} ends in +all: it lets everybody through.", corrected)
    elif survey.all_qualifier in {"", "?"} and not survey.included:
        yield report_warning(f"SPF of {domain} says nothing of others.", corrected)


def _judge_spf_sender(
    domain: str, survey: spf.SpfSurvey, term: str, sender: str, addresses: Sequence[str]
) -> DoctorFinding:
    if survey.includes_owner(sender):
        return report_fine(f"SPF of {domain} includes what sends for it")
    if not addresses and term.startswith("a:"):
        return report_error(
            f"SPF of {domain} lets nothing through for {sender}, which has no address.",
            "Give that name an address in the DNS, or correct the name of the server that sends.",
        )
    if survey.lets_through(addresses):
        return report_fine(f"SPF of {domain} lets {sender} through")
    record = spf.write_record(survey.records, term)
    return report_error(
        f"SPF of {domain} does not let {sender} through.",
        f"Add {term} to the record, so that it is: {_record_line(domain, record)}",
    )


def _explain_all_term(record: str, merged: list[str]) -> str:
    """Name the last term of a record that others were merged into, and why it is that one."""
    last = record.rpartition(" ")[2]
    endings = {text.rpartition(" ")[2].lower() for text in merged}
    if endings == {last}:
        return f"{last}, as they do"
    return (
        f"{last} (treat others with suspicion), the milder of their endings"
        if last == "~all"
        else f"{last} (refuse others)"
    )


def _record_line(name: str, text: str) -> str:
    """Write a TXT record as a zone file and `digest setup` have it."""
    return f"{name}. TXT {quote_record_text(text)}"


@doctor_check("dkim-record", "Publish the TXT record that 'digest doctor --online' prints here.", is_online=True)
def check_dkim_records(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the DNS has the public half of every key that we sign with (RFC 6376, section 3.6)."""
    signer = load_signer(examined.settings)
    if signer is None or provider_in_use(examined.settings).account is not None:
        yield report_fine("mail is not signed here")
        return
    for key in signer.keys:
        yield from _judge_dkim_record(examined, key, f"{key.selector}._domainkey.{signer.domain}")


def _judge_dkim_record(examined: ExaminedInstallation, key: SigningKey, name: str) -> Iterator[DoctorFinding]:
    expected = key.dns_record()
    publish = (
        f"Enter this record into the DNS, in place of what is there under that name: {_record_line(name, expected)}"
    )
    texts = examined.outside.names.find_texts(name)
    if len(texts) != 1:
        many = (
            f"has {len(texts)} records, so nobody knows which counts"
            if texts
            else "is not in the DNS: no signature verifies"
        )
        yield report_error(f"{name} {many}.", publish)
        return
    tags = dmarc.parse_tags(texts[0])
    if not tags.get("p"):
        yield report_error(f"{name} revokes the key (p= is empty): no signature verifies.", publish)
        return
    file = examined.settings.dkim_key_file
    advice = f"Where {file} is a key of 2,048 bits, enter its record into the DNS in place of the one there: {_record_line(name, expected)}"
    yield from _judge_key_size(name, tags, advice)
    yield from _judge_published_key(name, tags, expected, publish)


def _judge_key_size(name: str, tags: dict[str, str], advice: str) -> Iterator[DoctorFinding]:
    bits = _count_bits(tags)
    if bits is None or bits >= SHORT_BITS:
        return
    told = f"{name} has a key of {bits:,} bits"
    if bits < WEAK_BITS:
        yield report_error(f"{told}: nobody may accept it.", advice)
    else:
        yield report_warning(f"{told}.", advice)


def _judge_published_key(name: str, tags: dict[str, str], expected: str, publish: str) -> Iterator[DoctorFinding]:
    wanted, published = dmarc.parse_tags(expected), "".join(tags["p"].split())
    if published != wanted["p"] and wanted["p"].startswith(published):
        advice = f"A string in the DNS takes 255 characters, so the record is two strings or more, each in quotation marks. {publish}"
        yield report_error(
            f"{name} has our key, cut off after {len(published)} characters: no signature verifies.", advice
        )
        return
    if (tags.get("k", "rsa"), published) != (wanted["k"], wanted["p"]):
        yield report_error(f"{name} has another key than the one that we sign with: no signature verifies.", publish)
        return
    if "y" in tags.get("t", "").split(":"):
        yield report_warning(
            f"{name} says t=y: receivers treat mail as if it were not signed.",
            f"Take t=y out of the record, so that it is: {_record_line(name, expected)}",
        )
    yield report_fine(f"{name} has the key that we sign with")


def _count_bits(tags: dict[str, str]) -> int | None:
    """Count the bits of an RSA key; None of any other, or where it cannot be read."""
    try:
        key = load_der_public_key(b64decode("".join(tags["p"].split()), validate=True))
    except (ValueError, Base64Error, UnsupportedAlgorithm):
        return None
    return key.key_size if isinstance(key, RSAPublicKey) else None


@doctor_check(
    "dmarc",
    'Publish at _dmarc.DOMAIN a TXT record such as "v=DMARC1; p=none; rua=mailto:reports@DOMAIN".',
    is_online=True,
)
def check_dmarc(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a DMARC policy (RFC 9989, section 4.10.1) counts for the domain of From, and somebody gets reports."""
    sender = examined.settings.file.sender
    domain, reports = _sender_domain(examined.settings), sender.reply_to or sender.address
    found = dmarc.discover_policy(examined.outside.names, domain)
    if found.record is None:
        problems = found.problems or (
            f"neither {domain} nor a domain above it has a DMARC policy: large providers refuse its mail in bulk.",
        )
        line = _record_line(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:{reports}")
        remedy = (
            "Large providers send daily reports to the address in it: leave it where somebody reads its mail, or write another of your "
            f"domain. Enter into the DNS, as the one DMARC record there: {line}"
        )
        yield from (report_error(problem, remedy) for problem in problems)
        return
    corrected = _record_line(f"_dmarc.{found.record.domain}", dmarc.write_corrected_record(found.record, reports))
    yield from (report_warning(problem, f"Enter it into the DNS as: {corrected}") for problem in found.problems)
    yield from _judge_report_addresses(examined, found.record)
    tried = "; it is only tried (t=y)" if found.record.tags.get("t") == "y" else ""
    inherited = f" of {found.record.domain}" if found.record.domain != domain else ""
    yield report_fine(f"{domain} has a DMARC policy{inherited} (p={found.policy}){tried}")


def _judge_report_addresses(examined: ExaminedInstallation, record: dmarc.DmarcRecord) -> Iterator[DoctorFinding]:
    """Look whether those in other organisations who are named for reports say that they take them (RFC 9990, section 4)."""
    names = examined.outside.names
    addresses = [
        part.strip() for part in record.tags.get("rua", "").split(",") if part.strip().lower().startswith("mailto:")
    ]
    others = {address.rpartition("@")[2].partition("!")[0].lower() for address in addresses}
    for other in sorted(others):
        if dmarc.are_aligned(names, record.domain, other, strict=False):
            continue
        place = f"{record.domain}._report._dmarc.{other}"
        if not any(dmarc.parse_tags(text).get("v") == "DMARC1" for text in names.find_texts(place)):
            yield report_warning(
                f"reports for {record.domain} go to {other}, which does not say that it takes them.",
                f'Have {other} publish at {place} the TXT record "v=DMARC1".',
            )


@doctor_check(
    "alignment",
    "Sign with the domain of sender.address (DIGEST_DKIM_DOMAIN), and let bounces return to it or to one below.",
    is_online=True,
)
def check_alignment(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether signature and return path speak for the domain of From, as DMARC demands of one of them."""
    settings, names = examined.settings, examined.outside.names
    if provider_in_use(settings).mail_server is None:
        return
    author, signer = _sender_domain(settings), load_signer(settings)
    record = dmarc.discover_policy(names, author).record
    tags = record.tags if record else {}
    by_path = dmarc.are_aligned(names, author, _bounce_domain(settings), strict=tags.get("aspf") == "s")
    by_key = signer is not None and dmarc.are_aligned(names, author, signer.domain, strict=tags.get("adkim") == "s")
    by_key_remedy = (
        "Sign for that domain, then run 'digest doctor --online' again, which prints the record for the DNS: "
        + advise_variable_change(settings, f"DIGEST_DKIM_DOMAIN={author}")
    )
    bounce_line = f'bounce_domain = "{author}"'
    by_path_remedy = f"Let bounces return to {author}: {advise_key_change(settings, 'sender', bounce_line)}"
    if by_key and by_path:
        yield report_fine(f"signature and return path speak for {author}")
    elif by_key:
        yield report_warning(
            f"the return path's domain {_bounce_domain(settings)} does not speak for {author}: only the signature does.",
            by_path_remedy,
        )
    elif by_path:
        told = (
            f"the signature's domain {signer.domain} does not speak for {author}"
            if signer
            else "mail is not signed here"
        )
        yield report_warning(f"{told}: only the return path does, and forwarded mail fails DMARC.", by_key_remedy)
    else:
        yield report_error(
            f"neither signature nor return path speaks for {author}: DMARC fails.", f"{by_key_remedy}. {by_path_remedy}"
        )


@doctor_check("exchangers", "Publish an MX record that names the server which takes the domain's mail.", is_online=True)
def check_exchangers(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether mail to the sender's address and to the return path finds a server."""
    settings, names = examined.settings, examined.outside.names
    domains = dict.fromkeys(
        (_sender_domain(settings), settings.file.sender.reply_to.rpartition("@")[2].lower(), _bounce_domain(settings))
    )
    for domain in filter(None, domains):
        exchangers = names.find_exchangers(domain)
        remedy = (
            "Ask who runs your mailboxes (not who sends the newsletter) for the name of the server that takes the domain's mail, and "
            f"enter into the DNS, with that name for MAILHOST: {domain}. MX 10 MAILHOST."
        )
        if exchangers == [NULL_EXCHANGER]:
            yield report_error(
                f"{domain} says that it takes no mail (a null MX): answers and bounces are lost.", remedy
            )
        elif not exchangers:
            has_host = bool(names.find_addresses(domain))
            told = f"{domain} has no MX record"
            yield (
                report_warning(f"{told}; its own host is tried.", remedy)
                if has_host
                else report_error(f"{told} and no address: answers and bounces are lost.", remedy)
            )
        elif lost := [host for host in exchangers if not names.find_addresses(host)]:
            yield report_error(
                f"the MX record of {domain} names {lost[0]}, which has no address, so mail to anybody there is lost.",
                "Ask who runs your mailboxes (not who sends the newsletter) for the server's address, and enter into the DNS: "
                f"{lost[0]}. A NUMBER; or, in place of the MX record: {domain}. MX 10 THEIR-SERVER.",
            )
        else:
            yield report_fine(
                f"{exchangers[0]}, which the MX record of {domain} names, has an address; whether it takes mail was not tried"
            )


@doctor_check(
    "reverse-name",
    "Have who gave you the address set its PTR record to the mail server's name, which must lead back to it.",
    is_online=True,
)
def check_reverse_name(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a mail server on this machine has a public address whose name leads back to it."""
    settings, names = examined.settings, examined.outside.names
    server = provider_in_use(settings).mail_server
    if server is None or not is_loopback(server.host(settings)):
        return
    name = _examine_server(examined, server).name
    addresses = names.find_addresses(name)
    if not addresses:
        yield report_error(
            f"the mail server calls itself {name or 'nothing'}, which has no address.",
            "Give that name an address in the DNS, or set the server's name (Postfix: myhostname) to one that has.",
        )
    for address in addresses:
        pointers = names.find_names(address)
        if not pointers:
            yield report_error(f"{address} ({name}) has no name of its own.")
        elif not any(address in names.find_addresses(pointer) for pointer in pointers):
            yield report_error(f"{address} is called {pointers[0]}, which does not lead back to it.")
        else:
            yield report_fine(f"{address} is called {pointers[0]}, which leads back to it")
