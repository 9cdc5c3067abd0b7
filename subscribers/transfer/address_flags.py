"""Addresses that an operator should look at twice: those of a role, and those that are thrown away.

Both are counted and let through: many a reader of a trade newsletter sits behind `info@`.
"""

from subscribers.address import Address

# RFC 2142, and what else is usually read by several people or by a program.
ROLE_NAMES = frozenset(
    [
        *("abuse", "ftp", "hostmaster", "info", "marketing", "news", "noc", "postmaster", "sales", "security"),
        *("support", "usenet", "uucp", "webmaster", "www", "accounts", "admin", "administrator", "all"),
        *("billing", "board", "careers", "contact", "editor", "editors", "enquiries", "everyone", "feedback"),
        *("hello", "help", "helpdesk", "hr", "inquiries", "jobs", "legal", "mail", "mailer-daemon", "media"),
        *("newsletter", "no-reply", "noreply", "office", "operations", "orders", "pr", "press", "privacy"),
        *("reception", "root", "service", "spam", "staff", "subscribe", "sysadmin", "team", "unsubscribe"),
    ]
)

# Services that hand out mailboxes for minutes, under the names on their own front pages; gathered by hand in
# November 2026. The list is short on purpose: such services take new names each week, and a mark is no verdict.
DISPOSABLE_DOMAINS = frozenset(
    [
        *("10minutemail.com", "burnermail.io", "discard.email", "dispostable.com", "emailondeck.com"),
        *("fakeinbox.com", "getnada.com", "grr.la", "guerrillamail.com", "guerrillamail.net"),
        *("guerrillamail.org", "mailcatch.com", "maildrop.cc", "mailinator.com", "mailnesia.com"),
        *("mintemail.com", "moakt.com", "mohmal.com", "mytemp.email", "sharklasers.com", "spamgourmet.com"),
        *("temp-mail.org", "tempail.com", "tempmail.com", "throwawaymail.com", "trashmail.com", "yopmail.com"),
    ]
)


def is_role_address(address: Address) -> bool:
    """Return whether the local part names a role; what follows a plus sign does not count."""
    return address.local.partition("+")[0].lower() in ROLE_NAMES


def is_disposable_address(address: Address) -> bool:
    """Return whether the domain is one of the short list of throw-away mail services."""
    return address.domain in DISPOSABLE_DOMAINS
