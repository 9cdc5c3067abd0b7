"""Detecting addresses that share a mailbox, domains that share an owner, and large providers, for rate limits.

Everywhere else, people are identified by the address they typed (`Address.canonical`).
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
    # At Yandex, each user name has an address in every domain:
    # yandex.com/support/id/authorization/email.html
    **dict.fromkeys(("ya.ru", "yandex.by", "yandex.com", "yandex.kz", "yandex.ua"), "yandex.ru"),
}
# support.google.com/mail/answer/7436150, proton.me/support/addresses-and-aliases. Yandex treats
# dots and hyphens alike.
_IGNORED_CHARACTERS = {"gmail.com": ".", "proton.me": "._-", "yandex.ru": ".-"}

_YAHOO_DOMAINS = """
yahoo.com yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.mx yahoo.de
yahoo.es yahoo.fr yahoo.in yahoo.it ymail.com rocketmail.com
"""
# Yahoo's disposable addresses consist of a word, a hyphen, and another word. Other names there have
# no hyphens.
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
    """Return the same spelling for all addresses that are known or assumed to share a mailbox.

    Text after a plus sign is removed for all domains (RFC 5233, section 4), which is what most
    servers do. If a server doesn't, two people share a limit.
    """
    domain = _SAME_PROVIDER.get(address.domain, address.domain)
    local = name = address.local.casefold()
    for separator in _SEPARATORS.get(domain, "+"):
        local = local.partition(separator)[0]
    for character in _IGNORED_CHARACTERS.get(domain, ""):
        local = local.replace(character, "")
    return f"{local or name}@{domain}"


def is_large_provider(domain: str) -> bool:
    """Return True if anyone can get an address at a domain, so that many forms for it may come from many people."""
    return domain in LARGE_PROVIDERS


def find_registrable_domain(domain: str) -> str:
    """Return the registered part of an email domain, such as `smallhost.example` for `x7.smallhost.example`.

    Only registries count as public suffixes, not the private section of the list, because anyone can
    get many free names below `eu.org` or a dynamic DNS service. A public suffix is returned unchanged.
    """
    return _public_suffixes().privatesuffix(domain) or domain


@cache  # reading the list takes 40 ms
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)
