"""The product's English: native writers' habits on pages and in emails and errors, and patterns that never occur."""

import re
from functools import cache

import pytest
from proselint.checks import __register__ as shipped_checks
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, types
from proselint.registry.checks.engine import Fancy, RegexOptions
from proselint.tools import LintFile

from tests.tools.product_texts import count_words, doc_texts, email_texts, error_texts, option_texts, page_texts

KINDS = {"pages": page_texts, "emails": email_texts, "errors": error_texts, "options": option_texts}

# A pattern, and how often it may occur in 1,000 words: twice the rate of whichever of five other products has it most
# (GOV.UK Notify, healthchecks, listmonk, Ghost's portal, reader), and at least .5.
HABITS = {
    "negated subject": (r"\b(?:nobody|nothing|none|no one)\b", 1.4),
    "stand": (r"\bstands?\b", 0.5),
    "somebody": (r"\bsomebody\b", 0.6),
    "vague time": (r"\b(?:meanwhile|anew|at once|by itself|by themselves)\b", 0.6),
    "clause as subject": (
        r"(?:^|[.:;,(] )(?:what|whoever|who) (?!is this|do |does |did |can |should |are |if )\w+",
        1.2,
    ),
    "joined clauses": (r"[a-z)]; |[a-z)]: [a-z]", 16.4),
    "countable mail": (r"\b(?:a|one|each|every|this|that) mail\b|\bmails\b", 0.5),
}

# Each pattern is wrong wherever it occurs. Its words aren't, so it takes in what's around them.
NEVER = {
    "mail": (r"\bby mail\b|\b[Aa] mail\b|\bmails\b", "Write email: mail is what the post office carries."),
    "nobody": (r"\bNobody\b|\b[Ww]hoever\b|\b[Ss]omebody\b", "Name who does it, or recast the sentence."),
    "stands": (r"\bstands (?:in|on|at|there|here|by)\b", "Texts don't stand. They are, appear, or say."),
    "passive": (r"\b(?:is|are) to be \w+(?:ed|en)\b|\bbe had\b", "Say what to do, with a verb in the imperative."),
    "clause": (r"(?:(?<=\n)|(?<=[.!?] ))(?:Who|What|Whatever) [^.?!:\n]+\.(?=\s)", "Open the sentence with a noun."),
}
# Labels that meet in a list repeat a word, attributes have straight quotes, and to resume isn't a résumé.
UNUSED_CHECKS = ("lexical_illusions", "restricted", "typography.symbols.curly_quotes", "typography.diacritical_marks")
# American punctuation, except after a value that somebody typed and in the docs' tables of values.
OUTSIDE_QUOTES = re.compile(r"(?<![…}])[”\"][,.](?=\s|$)")
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{[^}]*\}")


@cache
def registry() -> CheckRegistry:
    """Return proselint's checks with those of `NEVER`."""
    checks = CheckRegistry()
    checks.register_many(tuple(check for check in shipped_checks if not check.path.startswith(UNUSED_CHECKS)))
    for name, (pattern, reason) in NEVER.items():
        engine = Fancy(RegexOptions(case_insensitive=False))
        checks.register(Check(types.ExistenceSimple(pattern), engine, f"never.{name}", f"{reason} ({{}})"))
    return checks


def lint(texts: list[str]) -> list[str]:
    """Return the linter's findings in texts, each with the text it's in."""
    enabled = {check.path.partition(".")[0]: True for check in registry().checks}
    lines = [PLACEHOLDER.sub("…", text).replace("\n", " ") for text in texts]
    results = LintFile("texts", "\n".join(lines)).lint({"max_errors": 10_000, "checks": enabled})
    return [f"{result.check_result.message}: {lines[result.pos[0] - 1]}" for result in results]


def rate(pattern: str, texts: list[str]) -> float:
    """Return how often a pattern occurs in 1,000 words."""
    return (
        1000 * len(re.findall(pattern, "\n".join(texts), re.IGNORECASE | re.MULTILINE)) / sum(map(count_words, texts))
    )


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_habit_is_as_rare_as_in_other_products(kind: str, habit: str) -> None:
    pattern, bar = HABITS[habit]
    texts = list(KINDS[kind]())
    examples = [text for text in texts if re.search(pattern, text, re.IGNORECASE | re.MULTILINE)]
    assert rate(pattern, texts) <= bar, examples


@pytest.mark.parametrize("kind", KINDS)
def test_the_linter_finds_nothing(kind: str) -> None:
    texts = KINDS[kind]()
    assert lint(list(texts)) == [], "tests/tools/product_texts.py gathers these texts from templates and modules"


@pytest.mark.parametrize("kind", [*KINDS, "docs"])
def test_commas_and_periods_are_inside_closing_quotation_marks(kind: str) -> None:
    texts = doc_texts() if kind == "docs" else KINDS[kind]()
    assert [text for text in texts if OUTSIDE_QUOTES.search(text)] == []


@pytest.mark.parametrize("kind", ["pages", "emails"])
def test_templates_have_curly_apostrophes(kind: str) -> None:
    assert [text for text in KINDS[kind]() if re.search(r"[a-z]'[a-z]|s' [a-z]", text)] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("We send it by mail.", "post office"),
        ("Nobody is on the list.", "recast"),
        ("No address stands on this page.", "stand"),
        ("The feed's address is to be changed.", "imperative"),
        ("Saved. What you save counts at once.", "noun"),
        ("It is very unique.", "uncomparable"),
    ],
)
def test_the_linter_finds_each_pattern_and_misspellings(text: str, reason: str) -> None:
    assert [finding for finding in lint(["Before it.", text, "After it."]) if reason in finding and text in finding]


@pytest.mark.parametrize("text", ["What happens next?", "What the log says", "It stands for itself", "Export by email"])
def test_the_linter_leaves_good_english_alone(text: str) -> None:
    assert lint([text]) == []
