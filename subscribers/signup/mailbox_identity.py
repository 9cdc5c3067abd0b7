"""Which spellings lead to one mailbox, which domains have one owner, and which are too large for a limit of their own.

Only for limits: people are told apart by the address as they typed it (`Address.canonical`).
"""

from functools import cache

from publicsuffixlist import PublicSuffixList

from subscribers.address import Address

_SAME_PROVIDER = {
    "googlemail.com": "gmail.com",
    "me.com": "icloud.com",
    "mac.com": "icloud.com",
    "protonmail.com": "proton.me",
    "pm.me": "proton.me",
    # One user name has an address at every domain of Yandex: yandex.com/support/id/authorization/email.html
    **dict.fromkeys(("ya.ru", "yandex.by", "yandex.com", "yandex.kz", "yandex.ua"), "yandex.ru"),
}
# support.google.com/mail/answer/7436150, proton.me/support/addresses-and-aliases; to Yandex a dot and a hyphen are the same.
_IGNORED_CHARACTERS = {"gmail.com": ".", "proton.me": "._-", "yandex.ru": ".-"}

_YAHOO_DOMAINS = """
yahoo.com yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.mx yahoo.de
yahoo.es yahoo.fr yahoo.in yahoo.it ymail.com rocketmail.com
"""
# Yahoo's disposable addresses are a word, a hyphen and another word; a hyphen stands in no other name there.
_SEPARATORS = dict.fromkeys(_YAHOO_DOMAINS.split(), "+-")

_OTHER_LARGE_DOMAINS = """
outlook.com outlook.de outlook.fr hotmail.com hotmail.co.uk hotmail.de hotmail.es hotmail.fr hotmail.it live.com
live.co.uk live.de live.fr live.nl msn.com aol.com fastmail.com zoho.com hey.com tuta.com tutanota.com mail.com email.com
comcast.net verizon.net att.net sbcglobal.net bellsouth.net cox.net charter.net earthlink.net optonline.net frontier.com
rogers.com shaw.ca bell.net sympatico.ca telus.net btinternet.com sky.com virginmedia.com ntlworld.com talktalk.net
bigpond.com optusnet.com.au gmx.at gmx.ch gmx.com gmx.de gmx.net web.de t-online.de freenet.de mailbox.org posteo.de
orange.fr wanadoo.fr free.fr laposte.net sfr.fr libero.it virgilio.it tiscali.it ziggo.nl kpnmail.nl planet.nl telenet.be
skynet.be bluewin.ch seznam.cz wp.pl o2.pl onet.pl interia.pl abv.bg ukr.net mail.ru bk.ru inbox.ru list.ru rambler.ru
qq.com 163.com 126.com sina.com naver.com daum.net hanmail.net docomo.ne.jp rediffmail.com
uol.com.br bol.com.br terra.com.br
"""
LARGE_PROVIDERS = frozenset((*_SAME_PROVIDER, *_SAME_PROVIDER.values(), *_SEPARATORS, *_OTHER_LARGE_DOMAINS.split()))


def find_canonical_mailbox(address: Address) -> str:
    """Return one spelling for all addresses that lead to a mailbox, as far as the domain alone can tell.

    What follows on a plus is taken off everywhere (RFC 5233, section 4), as most servers do. Where one does not, two people share a
    limit, and nothing else.
    """
    domain = _SAME_PROVIDER.get(address.domain, address.domain)
    local = name = address.local.casefold()
    for separator in _SEPARATORS.get(domain, "+"):
        local = local.partition(separator)[0]
    for character in _IGNORED_CHARACTERS.get(domain, ""):
        local = local.replace(character, "")
    return f"{local or name}@{domain}"


def is_large_provider(domain: str) -> bool:
    """Return whether anybody can have an address at a domain, so that many forms for it are many people."""
    return domain in LARGE_PROVIDERS


def find_registrable_domain(domain: str) -> str:
    """Return the domain that somebody registered, to which an email domain belongs: `smallhost.example` of `x7.smallhost.example`.

    Only registries count as public suffixes, not the list's private section: names below `eu.org` or a dynamic DNS service
    are free, so whoever wants many has them. A public suffix itself is returned unchanged.
    """
    return _public_suffixes().privatesuffix(domain) or domain


@cache  # reading the list takes 40 ms
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)
