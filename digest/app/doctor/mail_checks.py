"""Online checks of email: DNS records, mail servers, and the provider's account.

The records are SPF, DKIM, DMARC, MX, and PTR.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from digest.app.doctor import dmarc, spf
from digest.app.doctor.check_registry import (
    DoctorFindings,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_exposure,
    report_ok,
    report_warning,
)
from digest.app.doctor.network_access import DnsLookup
from digest.deliver.compose.dkim import SigningKey, load_signer, quote_record_text
from digest.deliver.inbound.imap import check_mailbox_access
from digest.deliver.providers.certificates import judge_certificate
from digest.deliver.providers.kind import DoctorFinding, MailServer, MailServerCheckResult
from digest.deliver.providers.registry import provider_in_use
from digest.settings import Settings, is_local_url, is_loopback
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from subscribers.english_text import join_words

# In bits: shorter keys must not, and should not, be used (RFC 8301, section 3.2).
WEAK_BITS, SHORT_BITS = 1024, 2048
NULL_EXCHANGER = "."  # RFC 7505, section 3


def _sender_domain(settings: Settings) -> str:
    return settings.file.sender.address.rpartition("@")[2].lower()


def _bounce_domain(settings: Settings) -> str:
    """Return the domain of the return path."""
    return settings.file.sender.bounce_domain.lower() or _sender_domain(settings)


def _examine_server(examined: ExaminedInstallation, server: MailServer) -> MailServerCheckResult:
    return server.examine(examined.settings, examined.outside.tls, examined.outside.timeout)


def _find_sending_host(examined: ExaminedInstallation, server: MailServer) -> str:
    """Return the name of the host that sends email.

    For a mail server on this machine, it's the name that the server gives itself.
    """
    host = server.host(examined.settings)
    return _examine_server(examined, server).name if is_loopback(host) else host.lower()


@doctor_check(
    "resolver",
    "Check this machine's name servers (/etc/resolv.conf) and the domain's, or try another with --name-server.",
    is_online=True,
)
def check_resolver(examined: ExaminedInstallation) -> DoctorFindings:
    """DNS lookups work for the sender, return-path, and page domains."""
    settings, dns = examined.settings, examined.outside.dns
    host = urlsplit(settings.link_base).hostname or ""
    lookups = dict.fromkeys((_sender_domain(settings), _bounce_domain(settings)), dns.find_texts)
    if not is_local_url(settings.link_base):
        lookups[host] = dns.find_addresses
    for domain, look_up in lookups.items():
        look_up(domain)
    yield report_ok(f"answers for {join_words(list(lookups))}")


@doctor_check(
    "mail-server",
    "Check DIGEST_MAIL_URL, the mail server, and the name in its certificate.",
    is_online=True,
)
def check_mail_server(examined: ExaminedInstallation) -> DoctorFindings:
    """The mail server has a trusted certificate and accepts the sign-in."""
    settings = examined.settings
    kind = provider_in_use(settings)
    if kind.mail_server is None:
        yield report_ok("you don't use your own mail server")
        return
    facts = _examine_server(examined, kind.mail_server)
    yield judge_certificate("", kind.mail_server.host(settings), facts.valid_until, examined.now)


@doctor_check(
    "mail-host",
    "Add a DNS record with the server's IP address, or change the name (in Postfix, myhostname).",
    is_online=True,
)
def check_mail_host(examined: ExaminedInstallation) -> DoctorFindings:
    """The mail server's name has an IP address."""
    server = provider_in_use(examined.settings).mail_server
    if server is None:
        return
    name = _find_sending_host(examined, server)
    if not name or not examined.outside.dns.find_addresses(name):
        yield report_error(f"The mail server calls itself {name or '(no name)'}, which has no IP address.")


@doctor_check("inbound-server", "Check [inbound] and DIGEST_INBOUND_PASSWORD.", is_online=True)
def check_inbound_server(examined: ExaminedInstallation) -> DoctorFindings:
    """The bounce mailbox has a trusted certificate and accepts the sign-in."""
    settings = examined.settings
    inbound, password = settings.file.inbound, settings.inbound_password
    if not inbound.host or password is None:
        return
    valid_until = check_mailbox_access(inbound, password.get_secret_value(), examined.outside.tls)
    yield judge_certificate("", inbound.host, valid_until, examined.now)


@doctor_check("provider-account", is_online=True)
def check_provider_account(examined: ExaminedInstallation) -> DoctorFindings:
    """The provider accepts your key, signs with your domain, and doesn't track opens or clicks."""
    settings = examined.settings
    account = provider_in_use(settings).account
    if account is not None:
        yield from account.findings(settings, examined.outside.timeout)


@doctor_check("spf", is_online=True)
def check_spf(examined: ExaminedInstallation) -> DoctorFindings:
    """The return path's SPF record allows only your email (RFC 7208, section 4)."""
    settings = examined.settings
    kind = provider_in_use(settings)
    if kind.mail_server is not None:
        host = _find_sending_host(examined, kind.mail_server)
        yield from _judge_spf(examined, _bounce_domain(settings), f"a:{host}", host)
    elif kind.account is not None:
        domain = _sender_domain(settings)
        if kind.account.is_authenticated(settings, domain, examined.outside.timeout):
            yield report_ok(f"{kind.title} uses its own return path within {domain}")
        else:
            yield from _judge_spf(examined, domain, f"include:{kind.account.spf_include}", kind.account.spf_include)


def _judge_spf(examined: ExaminedInstallation, domain: str, term: str, sender: str) -> DoctorFindings:
    """Check whether a domain's SPF record allows `sender`.

    `sender` is a host, or the domain that a provider asks to have included, and `term` the SPF term
    that allows it.
    """
    dns = examined.outside.dns
    survey = spf.survey_spf(dns, domain)
    if not survey.records:
        yield report_error(
            f"The domain {domain} has no SPF record.",
            f"Add this DNS record: {_record_line(domain, f'v=spf1 {term} -all')}",
        )
        return
    if len(survey.records) > 1:
        yield _merge_spf_records(dns, domain, survey.records, term, sender)
        return
    yield from (report_error(problem, remedy) for problem, remedy in survey.problems)
    yield from _judge_spf_ending(domain, survey)
    yield _judge_spf_sender(domain, survey, term, sender, dns.find_addresses(sender))


def _merge_spf_records(dns: DnsLookup, domain: str, records: list[str], term: str, sender: str) -> DoctorFinding:
    together = spf.survey_spf_record(dns, domain, spf.merge_spf_records(records))
    is_named = together.includes_owner(sender) or together.allows_any(dns.find_addresses(sender))
    missing = "" if is_named else term
    record = spf.merge_spf_records(records, missing)
    added = f", adds your current sender ({missing})," if missing else ""
    return report_error(
        f"The domain {domain} has {len(records)} SPF records, so mailbox providers ignore them all.",
        f"Replace them with this DNS record, which allows every sender in them{added} and ends in "
        f"{_explain_all_term(record, records)}: {_record_line(domain, record)}",
    )


def _judge_spf_ending(domain: str, survey: spf.SpfSurvey) -> DoctorFindings:
    corrected = f"Replace the DNS record with: {_record_line(domain, spf.merge_spf_records(survey.records))}"
    if survey.all_qualifier == "+":
        yield report_exposure(
            f"The SPF record of {domain} ends in +all, which allows anyone to send for the domain.", corrected
        )
    elif survey.all_qualifier in {"", "?"} and not survey.included:
        yield report_warning(f"The SPF record of {domain} doesn't say how to treat other senders.", corrected)


def _judge_spf_sender(
    domain: str, survey: spf.SpfSurvey, term: str, sender: str, addresses: Sequence[str]
) -> DoctorFinding:
    if survey.includes_owner(sender):
        return report_ok(f"SPF record of {domain} includes your sender")
    if survey.allows_any(addresses):
        return report_ok(f"SPF record of {domain} allows {sender}")
    record = spf.merge_spf_records(survey.records, term)
    return report_error(
        f"The SPF record of {domain} doesn't allow {sender}.",
        f"Add {term}, so that the DNS record is: {_record_line(domain, record)}",
    )


def _explain_all_term(record: str, merged: list[str]) -> str:
    """Return the last term of a merged record and the reason that it was chosen."""
    last = record.rpartition(" ")[2]
    endings = {text.rpartition(" ")[2].lower() for text in merged}
    if endings == {last}:
        return f"{last}, like they do"
    return f"{last} (softfail), the milder of their endings" if last == "~all" else f"{last} (fail)"


def _record_line(name: str, text: str) -> str:
    """Return a TXT record as a line of a zone file, as printed by `digest setup`."""
    return f"{name}. TXT {quote_record_text(text)}"


@doctor_check("dkim-record", is_online=True)
def check_dkim_records(examined: ExaminedInstallation) -> DoctorFindings:
    """DNS has every signing key's public key (RFC 6376, section 3.6)."""
    settings = examined.settings
    signer, relay_record = load_signer(settings), settings.file.relay.dkim_record
    if provider_in_use(settings).account is not None or not (signer or relay_record):
        yield report_ok("email isn't signed on this server")
    elif signer is None:
        yield from _judge_dkim_record(examined, relay_record)
    else:
        for key in signer.keys:
            yield from _judge_dkim_record(examined, f"{key.selector}._domainkey.{signer.domain}", key)


def _judge_dkim_record(examined: ExaminedInstallation, name: str, key: SigningKey | None = None) -> DoctorFindings:
    """Check the DKIM record of a key.

    If `key` is None, the key is the mail server's.
    """
    expected = key.dns_record() if key else ""
    line = _record_line(name, expected) if key else "the record that your mail server printed when it created its key"
    publish = f"Replace any DNS record of that name with: {line}"
    texts = examined.outside.dns.find_texts(name)
    if len(texts) != 1:
        many = (
            f"has {len(texts)} records, so mailbox providers can't tell which one to use"
            if texts
            else "isn't in DNS, so DKIM signatures fail"
        )
        yield report_error(f"{name} {many}.", publish)
        return
    tags = dmarc.parse_record_tags(texts[0])
    if not tags.get("p"):
        yield report_error(f"The DKIM record {name} revokes the key (p= is empty), so DKIM signatures fail.", publish)
        return
    place = examined.settings.dkim_key_file if key else "your mail server"
    if key and (mismatch := _find_key_mismatch(name, tags, expected, publish)):
        yield mismatch
        return
    yield from _judge_key_size(name, tags, f"If {place} contains a 2,048-bit key, replace the DNS record with: {line}")
    if "y" in tags.get("t", "").split(":"):
        yield report_warning(
            f"The DKIM record {name} contains t=y, so mailbox providers treat your email as unsigned.",
            f"Remove t=y so that the DNS record reads: {line}",
        )
    yield report_ok(f"{name} contains {'your signing' if key else 'a'} key")


def _judge_key_size(name: str, tags: dict[str, str], advice: str) -> DoctorFindings:
    bits = _count_bits(tags)
    if bits is None or bits >= SHORT_BITS:
        return
    message = f"The DKIM record {name} has a key of only {bits:,} bits"
    if bits < WEAK_BITS:
        yield report_error(f"{message}, which mailbox providers may reject.", advice)
    else:
        yield report_warning(f"{message}.", advice)


def _find_key_mismatch(name: str, tags: dict[str, str], expected: str, publish: str) -> DoctorFinding | None:
    expected_tags, published = dmarc.parse_record_tags(expected), "".join(tags["p"].split())
    if published != expected_tags["p"] and expected_tags["p"].startswith(published):
        advice = f"Split the record into quoted strings of at most 255 characters. {publish}"
        return report_error(
            f"The DKIM record {name} has your key but is cut off after {len(published)} characters, so DKIM "
            "signatures fail.",
            advice,
        )
    if (tags.get("k", "rsa"), published) != (expected_tags["k"], expected_tags["p"]):
        return report_error(
            f"The key in the DKIM record {name} isn't the one emails are signed with, so DKIM signatures fail.", publish
        )
    return None


def _count_bits(tags: dict[str, str]) -> int | None:
    """Return the size of an RSA key in bits, or None if the key is unreadable or of another type."""
    try:
        key = load_der_public_key(b64decode("".join(tags["p"].split()), validate=True))
    except (ValueError, Base64Error, UnsupportedAlgorithm):
        return None
    return key.key_size if isinstance(key, RSAPublicKey) else None


@doctor_check("dmarc", is_online=True)
def check_dmarc(examined: ExaminedInstallation) -> DoctorFindings:
    """The From domain has a DMARC policy with a report address (RFC 9989, section 4.10.1)."""
    sender = examined.settings.file.sender
    domain, reports = _sender_domain(examined.settings), dmarc.choose_report_address(sender.address, sender.reply_to)
    discovery = dmarc.discover_policy(examined.outside.dns, domain)
    if discovery.record is None:
        problems = discovery.problems or (
            (
                f"Neither {domain} nor a parent domain has a DMARC policy. Large mailbox providers reject bulk email "
                "from such domains."
            ),
        )
        line = _record_line(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:{reports}")
        remedy = (
            f"Add this as the only DMARC record in DNS: {line}. Large mailbox providers will send daily reports to "
            "the address in it, so use one you read."
        )
        yield from (report_error(problem, remedy) for problem in problems)
        return
    corrected = _record_line(f"_dmarc.{discovery.record.domain}", dmarc.correct_dmarc_record(discovery.record, reports))
    yield from (report_warning(problem, f"Replace the DNS record with: {corrected}") for problem in discovery.problems)
    yield from _judge_report_addresses(examined, discovery.record)
    testing_note = " (testing, t=y)" if discovery.record.tags.get("t") == "y" else ""
    inherited = f" of {discovery.record.domain}" if discovery.record.domain != domain else ""
    yield report_ok(f"{domain} has a DMARC policy{inherited} (p={discovery.policy}){testing_note}")


def _judge_report_addresses(examined: ExaminedInstallation, record: dmarc.DmarcRecord) -> DoctorFindings:
    """Check that other organizations' domains agree to receive the domain's reports.

    See RFC 9990, section 4.
    """
    dns = examined.outside.dns
    addresses = [
        part.strip() for part in record.tags.get("rua", "").split(",") if part.strip().lower().startswith("mailto:")
    ]
    report_domains = {address.rpartition("@")[2].partition("!")[0].lower() for address in addresses}
    for report_domain in sorted(report_domains):
        if dmarc.are_aligned(dns, record.domain, report_domain, strict=False):
            continue
        place = dmarc.make_report_consent_name(record.domain, report_domain)
        if not any(dmarc.parse_record_tags(text).get("v") == "DMARC1" for text in dns.find_texts(place)):
            yield report_warning(
                f"DMARC reports for {record.domain} go to {report_domain}, which hasn't agreed to receive them.",
                f'Ask {report_domain} to publish this TXT record at {place}: "v=DMARC1".',
            )


@doctor_check("alignment", is_online=True)
def check_alignment(examined: ExaminedInstallation) -> DoctorFindings:
    """The signature or return path is aligned with the From domain (DMARC)."""
    settings, dns = examined.settings, examined.outside.dns
    if provider_in_use(settings).mail_server is None:
        return
    author, signer = _sender_domain(settings), load_signer(settings)
    signing_domain = signer.domain if signer else settings.file.relay.dkim_domain
    record = dmarc.discover_policy(dns, author).record
    tags = record.tags if record else {}
    by_path = dmarc.are_aligned(dns, author, _bounce_domain(settings), strict=tags.get("aspf") == "s")
    by_key = bool(signing_domain) and dmarc.are_aligned(dns, author, signing_domain, strict=tags.get("adkim") == "s")
    by_key_remedy = (
        "Have your mail server sign for that domain, and correct relay.dkim_record"
        if settings.file.relay.dkim_record
        else "Sign for that domain, then run 'digest doctor --online' again to get the DNS record. "
        + advise_variable_change(settings, f"DIGEST_DKIM_DOMAIN={author}")
    )
    bounce_line = f'bounce_domain = "{author}"'
    by_path_remedy = f"Use {author} as the bounce domain. {advise_key_change(settings, 'sender', bounce_line)}"
    if by_key and by_path:
        yield report_ok(f"DKIM signature and return path are aligned with {author}")
    elif by_key:
        yield report_warning(
            f"The return path's domain {_bounce_domain(settings)} isn't aligned with {author}. Only the signature's domain is.",
            by_path_remedy,
        )
    elif by_path:
        message = (
            f"The signature's domain {signing_domain} isn't aligned with {author}"
            if signing_domain
            else "Email isn't signed on this server"
        )
        yield report_warning(
            f"{message}. Only the return path is aligned, so forwarded email fails DMARC.", by_key_remedy
        )
    else:
        yield report_error(
            f"Neither the signature nor the return path is aligned with {author}, so DMARC fails.",
            f"{by_key_remedy}. {by_path_remedy}",
        )


@doctor_check("exchangers", is_online=True)
def check_exchangers(examined: ExaminedInstallation) -> DoctorFindings:
    """The sender, reply, and return-path domains have mail servers."""
    settings, dns = examined.settings, examined.outside.dns
    domains = dict.fromkeys(
        (_sender_domain(settings), settings.file.sender.reply_to.rpartition("@")[2].lower(), _bounce_domain(settings))
    )
    lost_hosts: set[str] = set()
    for domain in filter(None, domains):
        exchangers = dns.find_exchangers(domain)
        remedy = (
            "Ask the provider of your mailboxes (not of the newsletter's email) for the name of their mail "
            f"server. Add this DNS record with that name for MAILHOST: {domain}. MX 10 MAILHOST."
        )
        if exchangers == [NULL_EXCHANGER]:
            yield report_error(
                f"The domain {domain} doesn't accept email (null MX), so replies and bounces are lost.", remedy
            )
        elif not exchangers:
            has_host = bool(dns.find_addresses(domain))
            message = f"The domain {domain} has no MX record"
            yield (
                report_warning(f"{message}, so mail servers try the domain's own IP address.", remedy)
                if has_host
                else report_error(f"{message} and no IP address, so replies and bounces are lost.", remedy)
            )
        elif lost := [host for host in exchangers if not dns.find_addresses(host)]:
            if lost[0] in lost_hosts:
                continue  # the same record has already been reported
            lost_hosts.add(lost[0])
            yield report_error(
                f"The MX record of {domain} points to {lost[0]}, which has no IP address, so email to that domain is "
                "lost.",
                "Ask the provider of your mailboxes (not of the newsletter's email) for the server's IP address, and "
                f"add this DNS record: {lost[0]}. A IP-ADDRESS. Or replace the MX record with: {domain}. MX 10 "
                "THEIR-SERVER.",
            )
        else:
            yield report_ok(
                f"{exchangers[0]}, in the MX record of {domain}, has an IP address (accepting email wasn't tested)"
            )


@doctor_check(
    "reverse-name",
    "Ask the hosting provider to set the PTR record to the mail server's name, which must resolve to that IP address.",
    is_online=True,
)
def check_reverse_name(examined: ExaminedInstallation) -> DoctorFindings:
    """A mail server on this machine has a matching PTR record."""
    settings, dns = examined.settings, examined.outside.dns
    server = provider_in_use(settings).mail_server
    if server is None or not is_loopback(server.host(settings)):
        return
    name = _examine_server(examined, server).name
    for address in dns.find_addresses(name):
        pointers = dns.find_names(address)
        if not pointers:
            yield report_error(f"The IP address {address} ({name}) has no PTR record.")
        elif not any(address in dns.find_addresses(pointer) for pointer in pointers):
            yield report_error(f"The PTR record of {address} is {pointers[0]}, which doesn't have that IP address.")
        else:
            yield report_ok(f"{address} and {pointers[0]} refer to each other")
