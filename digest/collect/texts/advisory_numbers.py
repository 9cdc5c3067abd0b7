"""The numbers of security advisories and vulnerabilities in texts and URLs."""

import re

# Advisory numbers of agencies and vendors: CISA and ICS-CERT, CERT@VDE, GitHub, and CERT/CC's notes.
OWN_NUMBER = re.compile(
    r"(?<![\w-])(?:ICSA-\d{2}-\d{3}-\d{2}|ICSMA-\d{2}-\d{3}-\d{2}|AA\d{2}-\d{3}[A-Z]|VDE-\d{4}-\d{3}"
    r"|GHSA(?:-[23456789cfghjmpqrvwx]{4}){3}|VU#\d{6})(?![\w-])",
    re.IGNORECASE | re.ASCII,
)
CVE_NUMBER = re.compile(r"(?<![\w-])CVE-\d{4}-\d{4,7}(?!\w)", re.IGNORECASE | re.ASCII)


def extract_advisory_numbers(text: str) -> tuple[str, ...]:
    """Return the advisory numbers in a text, then its vulnerability numbers, in upper case.

    Each group is in order of occurrence.
    """
    numbers = [*OWN_NUMBER.findall(text), *CVE_NUMBER.findall(text)]
    return tuple(dict.fromkeys(map(str.upper, numbers)))
