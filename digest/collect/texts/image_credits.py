"""Image credits, including those of US agencies.

Agencies' own images are in the public domain (17 USC 105). But agencies also show images by others
(news agencies, contractors, courtesy photos), so an image counts as an agency's only if its credit
has one of a few explicit forms. Seals and logos are protected by separate laws, such as 18 USC 506
and 1017, regardless of their author.
"""

import re

SEPARATOR = "; "  # separates several credits of one item
_AGENCIES = """
FEMA; Federal Emergency Management Agency; CISA; Cybersecurity and Infrastructure Security Agency; DHS; Department of
Homeland Security; CBP; Customs and Border Protection; Border Patrol; ICE; Immigration and Customs Enforcement; TSA;
Transportation Security Administration; USCIS; Citizenship and Immigration Services; USCG; Coast Guard; Secret Service; NASA;
NASA Earth Observatory; NOAA; National Oceanic and Atmospheric Administration; NWS; National Weather Service; National
Hurricane Center; NHC; USGS; Geological Survey; CDC; Centers for Disease Control and Prevention; FBI; Federal Bureau of
Investigation; DOJ; Department of Justice; Justice Department; DEA; ATF; Marshals Service; NTSB; National Transportation
Safety Board; FAA; Federal Aviation Administration; EPA; Environmental Protection Agency; USDA; Forest Service; USFS; National
Park Service; NPS; Department of Energy; DOE; NIST; GAO; GSA; DoD; Department of Defense; Department of War; Army; Navy; Air
Force; Marine Corps; Space Force; Army Corps of Engineers; USACE; Army National Guard; Air National Guard; Army Reserve;
Air Force Reserve"""
# Words found in names of companies, the press, and rights holders, but not in people's names.
_NO_PERSON = re.compile(
    r"\b(?:agenc(?:y|ies)|alamy|archives?|associated|bloomberg|co|collection|company|corp|corporation|courtesy|digital|file|"
    r"getty|group|handout|images?|inc|institute|istock|journal|labs?|llc|ltd|maxar|media|nasa|news|newspapers?|network|photos?|"
    r"pictures?|planet|pool|post|press|productions?|radio|reuters|rights|satellite|service|shutterstock|spacex|staff|stock|"
    r"studios?|technologies|television|times|tribune|tv|university|used|via|video|wire)\b",
    re.IGNORECASE,
)
_NAMES = "|".join(re.escape(" ".join(name.split())) for name in _AGENCIES.split(";"))
_WORK = r"(?i:photo(?:graph)?|image|graphic|illustration|map)s?"
_LABEL = rf"(?:(?:{_WORK}|(?i:(?:photo |image )?credits?))(?: by)?:? )?"
_PERSON = r"(?P<person>[A-Z0-9][^/|;:()]{3,80})"
_PERSON_WORD = re.compile(r"[A-Z][\w.'’-]*|1st|2nd|3rd|de|la|van|von|der")
_ACRONYM = re.compile(r"[A-Z]{2,}\d*")
_RANKS_AND_SUFFIXES = {
    "II",
    "III",
    "IV",
    "JR",
    "SR",
    "MC1",
    "MC2",
    "MC3",
    "PA1",
    "PA2",
    "PA3",
    "MCC",
    "PFC",
    "SPC",
    "SGT",
}
_PROTECTED_SIGN = re.compile(r"(?<![a-z])(?:seals?|logos?|emblems?|insignias?|crests?|badges?|wordmarks?)(?![a-z])")

_IN_PARENTHESES = re.compile(rf"\(([^()]{{3,160}}\b{_WORK}\b[^()]{{0,120}}|{_WORK}\b[^()]{{0,160}})\)", re.IGNORECASE)
_AFTER_LABEL = re.compile(rf"\b(?:{_WORK} (?:credits?|courtesy)|{_WORK}): ?([^.;()\n]{{2,120}})", re.IGNORECASE)


def find_image_credits(text: str) -> tuple[str, ...]:
    """Return the image credits in a plain text.

    Examples are "(FEMA photo by Ada Quill)" and "Photo: Ada Quill/FEMA".
    """
    credits_found = (*_IN_PARENTHESES.findall(text), *_AFTER_LABEL.findall(text))
    return tuple(dict.fromkeys(" ".join(credit.split()) for credit in credits_found))


def is_agency_image(credit: str | None, publisher: str, image_url: str, image_alt: str | None) -> bool:
    """Return True if an image was made by a US agency or the publisher.

    All of its credits must name one of them, and it must not be a seal or logo.
    """
    if not credit or _PROTECTED_SIGN.search(f"{image_url} {image_alt or ''}".lower()):
        return False
    return all(_names_agency(part, publisher) for part in credit.split(SEPARATOR))


def _names_agency(credit: str, publisher: str) -> bool:
    agency = rf"(?:the )?(?:U\.?S\.? )?(?:{_NAMES}|{re.escape(publisher) or '(?!)'})"
    forms = (
        rf"{_LABEL}{agency}(?: {_WORK})?(?: by {_PERSON})?",  # "U.S. Coast Guard photo by Seaman Ada Quill"
        rf"{_LABEL}{_PERSON}(?: ?[/|] ?|, | [–—-] ){agency}",  # "Photo by Ada Quill/FEMA"  # noqa: RUF001
        rf"{_LABEL}{agency} ?[/|] ?{_PERSON}",  # "NASA/Ada Quill"
    )
    text = credit.strip().rstrip(".")
    matches = filter(None, (re.fullmatch(form, text) for form in forms))
    return any(not (person := match.groupdict().get("person")) or _is_person(person) for match in matches)


def _is_person(name: str) -> bool:
    """Return True if a name is a person's, with or without a rank.

    It must have several words, none of which is typical of companies.
    """
    words = name.replace(",", " ").split()
    if len(words) < 2 or _NO_PERSON.search(name):
        return False
    if any(_ACRONYM.fullmatch(word) and word not in _RANKS_AND_SUFFIXES for word in words):
        return False
    return all(_PERSON_WORD.fullmatch(word) for word in words)
