"""Checks for items and pages that visitors can't read: password forms, sign-in pages, missing pages."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

from digest.collect.documents.parsed_document import SIGN_IN
from digest.collect.texts import text_cleanup

PROTECTED = "it's password-protected"
MISSING = "its page shows “not found”"

# WordPress's text in place of a protected post's excerpt and above the form, from the catalogs of
# several releases.
_STOCK_EXCERPT = re.compile(
    r"there is no excerpt because this is a protected post"
    r"|il n'y a pas d'extrait,? car (?:cette publication est protégée|cet article est protégé)"
    r"|es gibt keinen (?:text)?auszug, da dies ein geschützter beitrag ist"
    r"|no hay extracto porque (?:esta )?es una entrada protegida"
    r"|non è disponibile alcun riassunto in quanto si tratta di un articolo protetto"
    r"|det finns inget utdrag eftersom detta är ett skyddat inlägg"
    r"|this content is password[- ]protected\. to view it,? please enter (?:the|your) password below"
    r"|este conteúdo está protegido por senha\. para vê-lo, digite sua senha abaixo"
    r"|このコンテンツはパスワードで保護されています。 ?閲覧するには以下にパスワードを入力してください"
)
_MAX_EXCERPT_CHARACTERS = 1_000  # a stock excerpt's markup has some 80 characters
_PROTECTION_FORM = re.compile(r"<form\b[^<>]{0,2000}?(?:post-password-form|action=postpass)", re.IGNORECASE)
_PROTECTION_XPATH = "//form[contains(@class, 'post-password-form') or contains(@action, 'action=postpass')] | //input[@name='post_password']"
_CHROME_NAMES = "header nav footer aside dialog template script style noscript"
_CHROME = frozenset(_CHROME_NAMES.split())  # elements that aren't part of an article
_UNCOUNTED = _CHROME | {"form"}
# In the class of elements that aren't part of a page's own content.
_HIDDEN = "(modal|popup|offcanvas|drawer|sidebar|widget)"
# Maximum number of words next to a sign-in form: on an ordinary page, and on a page named as a sign-in page.
_SIGN_IN_WORDS, _DECLARED_SIGN_IN_WORDS = (100, 300), (30, 100)  # the second pair is for declared articles
_SIGN_IN_NAME = re.compile(
    r"(?:please )?(?:log|sign)[ -]?(?:in|on)(?: (?:page|required|or (?:register|join|sign up|subscribe|create an account)"
    r"|to (?:continue|proceed|(?:your|our) [\w ]{1,30}|(?:read|view|see|access)(?: on| more| (?:this|the|our) [\w ]{1,30})?)))?"
    r"|(?:member|subscriber|user|customer|staff|account)s?(?:'s?)? (?:log|sign)[ -]?in|members only|single sign[ -]?on|sso"
    r"|(?:authentication|login|sign-in) required|anmelden|anmeldung|einloggen|bitte melden sie sich an"
    r"|connexion|se connecter|connectez-vous|identifiez-vous|inici(?:ar|a) sesión|acceder|accedi|iniciar sessão|inloggen"
    r"|logga in|log ind|logg inn|zaloguj się|ログイン|登录|войти|вход"
)
_ACCOUNT_FIELD = re.compile(
    r"mail|user|login|account|ident", re.IGNORECASE
)  # in the name of a field for an email address or user name
_PROVIDER = re.compile(
    r"(?:continue|(?:log|sign) ?in|weiter|anmelden|continuer|se connecter|continuar|iniciar sesión|accedi|continua)"
    r" (?:with|using|via|mit|über|avec|con|com) .{1,40}|.{0,20}single sign[ -]?on.{0,20}"
)
_MAX_WAYS_IN = 20  # maximum number of elements to examine
_NOT_FOUND = re.compile(
    r"(?:error )?404(?: error)?(?:[ :!-]*(?:page |file )?not found)?|(?:(?:oops|sorry)[!,.]? )?(?:(?:the |that )?page |file )?"
    r"(?:not found|can(?:'|no)t be found|was not found|could not be found|does(?:n't| not) exist)|nothing found"
    r"|(?:(?:oops|sorry)[!,.]? )?(?:we (?:can(?:'|no)t|couldn't|could not) find (?:that page|the page you(?:'re| are) looking for)"
    r"|the page you(?:'re| are) looking for (?:can(?:'|no)t be found|was not found|could not be found|does(?:n't| not) exist)"
    r"|(?:this|that|the) page is(?:n't| not| no longer) available|this (?:page|article|post) has been (?:removed|deleted))"
    r"|page (?:non trouvée|introuvable)|seite (?:wurde )?nicht gefunden|no se encontró la página|página no encontrada"
    r"|pagina non trovata"
)
_TITLE_SEPARATOR = re.compile(r"\s+[-–—|·•»«]\s+")  # noqa: RUF001  dashes of every width


def explain_withheld_item(summary: str, content: str) -> str:
    """Return why a feed's item isn't public, based on its HTML, or "" if it is.

    A title that begins with "Protected:" isn't evidence, because articles have such titles, too.
    """
    opening = _plain(text_cleanup.html_to_text(summary[:_MAX_EXCERPT_CHARACTERS]))  # plug-ins add a footer after it
    forms = map(_PROTECTION_FORM.search, (content, summary))
    return PROTECTED if _STOCK_EXCERPT.match(opening) or any(forms) else ""


def explain_page_barrier(root: Any, *, is_article: bool) -> str:
    """Return why a visitor can't read a page, or "" if they can.

    Args:
        root: the page's root element.
        is_article: whether the page's metadata declares an article. A sign-in form next to one
            is usually for paying readers, and a metered article is public.
    """
    if root.xpath(_PROTECTION_XPATH):
        return PROTECTED
    if _is_sign_in_page(root, *(_DECLARED_SIGN_IN_WORDS if is_article else _SIGN_IN_WORDS)):
        return SIGN_IN
    return MISSING if not is_article and _is_missing_page(root) else ""


def _is_sign_in_page(root: Any, max_words: int, max_named_words: int) -> bool:
    """Return True if a page's main part has a way to sign in and little else.

    A password field is a way to sign in. On a page named as a sign-in page, so are a field for an
    email address and single sign-on with another site, and more words are allowed.
    """
    is_named = _names_sign_in(root)
    candidates = root.iter("input", "a", "button")
    ways = (element for element in candidates if _is_way_in(element, is_named=is_named))
    if all(map(_is_chrome, islice(ways, _MAX_WAYS_IN))):
        return False
    most = max_named_words if is_named else max_words
    return _count_words(root.find("body"), most) <= most


def _names_sign_in(root: Any) -> bool:
    """Return True if a page's title, or all of its headings, name only a sign-in page."""
    headings = (heading for heading in root.iter("h1") if not _is_chrome(heading))
    matches = [_SIGN_IN_NAME.fullmatch(text.rstrip(".!: ")) for text in _texts_of(headings)]
    titled = _title_parts(root)
    titles = {text.removesuffix(f" to {site}") for text in titled for site in ("", *titled)}
    return (bool(matches) and all(matches)) or any(map(_SIGN_IN_NAME.fullmatch, titles))


def _is_way_in(element: Any, *, is_named: bool) -> bool:
    if element.tag != "input":
        return is_named and bool(_PROVIDER.fullmatch(_plain(element.text_content())))
    kind = (element.get("type") or "text").lower()
    if kind == "text":
        return is_named and bool(_ACCOUNT_FIELD.search(element.get("name", "")))
    return kind == "password" or (kind == "email" and is_named)


def _count_words(body: Any, most: int) -> int:
    """Return the number of words outside forms and page chrome. Counting stops soon after `most`."""
    words, waiting = 0, [] if body is None else [body]
    while waiting and words <= most:
        element = waiting.pop()
        if element is not body:
            words += len((element.tail or "").split())
        if isinstance(element.tag, str) and element.tag not in _UNCOUNTED:  # a comment's tag isn't a string
            words += len((element.text or "").split())
            waiting += list(element)
    return words


def _is_chrome(element: Any) -> bool:
    for around in element.iterancestors():
        if around.tag in _CHROME or around.get("role") == "dialog" or around.get("aria-hidden") == "true":
            return True
        if "hidden" in around.attrib or "display:none" in around.get("style", "").replace(" ", ""):
            return True
        if re.search(_HIDDEN, around.get("class", ""), re.IGNORECASE):
            return True
    return False


def _is_missing_page(root: Any) -> bool:
    """Return True if a page with status 200 says that the page is missing.

    It may say so in WordPress's class or in its headings.
    """
    body = root.find("body")
    if body is not None and "error404" in body.get("class", "").split():
        return True
    titled = _title_parts(root)
    if _names_nothing(_texts_of(root.iter("h1")) or titled):
        return True
    # If the first heading is the site's name, a lower one counts if the title says the same.
    return _names_nothing(titled) and _names_nothing(_texts_of(root.iter("h2")))


def _texts_of(elements: Iterable[Any]) -> list[str]:
    return [_plain(element.text_content()) for element in elements]


def _title_parts(root: Any) -> list[str]:
    """Return the first two parts of the title, split at bars or dashes.

    One of them is usually the site's name.
    """
    title = next(iter(_texts_of(root.iter("title"))), "")
    return _TITLE_SEPARATOR.split(title)[:2]


def _names_nothing(texts: Iterable[str]) -> bool:
    """Return True if one of the texts is exactly a known phrase for a missing page."""
    return any(_NOT_FOUND.fullmatch(text.rstrip(".! ")) for text in texts)


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())
