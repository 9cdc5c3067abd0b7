"""The list of providers, and the choice of the one in use."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from digest.deliver.providers.kind import ProviderKind, ProviderSettingsError, SuppressionLists, split_mail_url
from digest.settings import Settings
from digest.settings.setting_lines import advise_variable_change
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage

if TYPE_CHECKING:
    from digest.deliver.providers.base import Provider

_FOLDER = Path(__file__).parent
EXAMPLE_LINE = "DIGEST_MAIL_URL=smtp://user:password@host:587"


@cache
def load_provider_kinds() -> tuple[ProviderKind, ...]:
    """Return all providers: first those that write files, then mail servers, then services.

    Each is a folder next to this module, with a module `kind` that declares it.
    """
    kinds = [_load_kind(folder) for folder in _list_folders()]
    return tuple(sorted(kinds, key=lambda kind: (bool(kind.account), bool(kind.mail_server), kind.name)))


def _list_folders() -> list[str]:
    return sorted(module.parent.name for module in _FOLDER.glob("*/kind.py"))


def _load_kind(folder: str) -> ProviderKind:
    kind: ProviderKind = import_module(f"digest.deliver.providers.{folder}.kind").KIND
    return kind


def find_provider(name: str) -> ProviderKind | None:
    """Return the provider with the given name, or None if there's none."""
    return next((kind for kind in load_provider_kinds() if kind.name == name), None)


def is_provider_in_use(kind: ProviderKind, settings: Settings) -> bool:
    """Return True if `DIGEST_MAIL_URL` selects this provider."""
    scheme = split_mail_url(settings).scheme
    return any(example.startswith(f"{scheme}:") for example in kind.url_examples)


def provider_in_use(settings: Settings) -> ProviderKind:
    """Return the provider that `DIGEST_MAIL_URL` selects.

    Raises:
        ProviderSettingsError: the URL can't be parsed, or no provider has its scheme.
    """
    scheme = split_mail_url(settings).scheme
    # The first folder is usually the right one. A send starts faster if the others aren't imported.
    for folder in sorted(_list_folders(), key=lambda folder: not scheme.startswith(folder)):
        kind = _load_kind(folder)
        if is_provider_in_use(kind, settings):
            return kind
    if settings.mail_url.get_secret_value().startswith(("smtp://", "smtps://")):
        raise ProviderSettingsError(
            "DIGEST_MAIL_URL isn't a URL.",
            remedy="Encode special characters in the user and password, such as %23 for # and %2F for a slash. "
            + advise_variable_change(settings, EXAMPLE_LINE),
        )
    *examples, last = (example for kind in load_provider_kinds() for example in kind.url_examples)
    raise ProviderSettingsError(
        "DIGEST_MAIL_URL doesn't say how to send email.",
        remedy=f"Use {', '.join(examples)}, or {last}. {advise_variable_change(settings, EXAMPLE_LINE)}",
    )


def join_provider_remedies(check: str) -> str:
    """Return all providers' remedies for one of the doctor's checks, joined."""
    return " ".join(kind.remedies[check] for kind in load_provider_kinds() if check in kind.remedies)


def is_outbox_in_use(settings: Settings) -> bool:
    """Return True if `DIGEST_MAIL_URL` selects the outbox, or False if it can't be parsed."""
    try:
        return provider_in_use(settings).name == "outbox"
    except ProviderSettingsError:
        return False


def open_provider(settings: Settings) -> "Provider":
    """Open the provider that `DIGEST_MAIL_URL` selects. The caller must close it.

    A provider that sends messages beyond this machine requires a postal address, a real sender address,
    and an https base URL, because messages must identify the sender and say how to unsubscribe.

    Raises:
        ProviderSettingsError: the URL can't be parsed, or a setting is missing. The message
            contains no password.
    """
    kind = provider_in_use(settings)
    problems = list_sender_problems(settings) if kind.leaves_machine(settings) else []
    if problems:
        raise ProviderSettingsError("Email can't be sent yet:\n" + "\n".join(f"  {p}" for p in problems))
    return kind.open(settings)


def describe_data_recipient(provider_name: str, settings: Settings, language: SubscriberLanguage = ENGLISH) -> str:
    """Return a description of who got a message, based on the provider's name in its delivery."""
    kind = find_provider(provider_name) or next(kind for kind in load_provider_kinds() if kind.mail_server)
    return kind.describe_recipient(settings, language)


def translate_recipient_description(described: str, settings: Settings, language: SubscriberLanguage) -> str:
    """Translate a recipient's description, as returned by `describe_data_recipient`.

    Descriptions that aren't a provider's are translated like other texts, if possible.
    """
    for kind in load_provider_kinds():
        if kind.describe_recipient(settings, ENGLISH) == described:
            return kind.describe_recipient(settings, language)
    return language.translate_text(described)


def describe_address_recipients(settings: Settings, language: SubscriberLanguage = ENGLISH) -> tuple[str, ...]:
    """Return sentences that tell subscribers who gets their addresses from the provider in use."""
    try:
        kind = provider_in_use(settings)
    except ProviderSettingsError:  # nothing can be sent, so no one gets any address
        kind = load_provider_kinds()[0]
    return kind.describe_address_recipients(settings, language)


def find_suppression_lists(settings: Settings) -> SuppressionLists:
    """Return the suppression lists of the provider in use, or else of the first one that has any.

    The settings of a provider that was used before may still exist.
    """
    kinds = sorted(load_provider_kinds(), key=lambda kind: not is_provider_in_use(kind, settings))
    return next(kind.suppressions for kind in kinds if kind.suppressions)


def list_sender_problems(settings: Settings) -> list[str]:
    """Return lines about the settings that keep email from leaving this machine.

    These are, for example, empty settings and sample values.
    """
    sender = settings.file.sender
    checks = (
        (
            not sender.postal_address.strip(),
            "sender.postal_address: empty; every email must include it (CAN-SPAM, 15 USC 7704)",
        ),
        (
            _is_example(sender.bounce_domain),
            "sender.bounce_domain: still the example; use your own domain, so that bounces reach you",
        ),
        (not sender.address, "sender.address: empty; enter your own address"),
        (_is_example(sender.address), "sender.address: still the example; use an address at your own domain"),
        (_is_example(sender.list_id), "sender.list_id: still the example; use your own domain (RFC 2919, section 2)"),
        (
            _is_example(sender.reply_to),
            "sender.reply_to: still the example; use your own address, so that replies reach you",
        ),
        (
            urlsplit(settings.base_url).scheme != "https",
            "DIGEST_BASE_URL: not https; one-click unsubscribing requires it (RFC 8058, section 3.1)",
        ),
    )
    return [problem for is_there, problem in checks if is_there]


def _is_example(address_or_domain: str) -> bool:
    return address_or_domain.lower().endswith("example.org")
