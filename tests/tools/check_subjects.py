"""Check commit subjects, one per line of standard input: imperative, at most 72 characters, capitalized, without a period."""

import re
import sys

MAX_LENGTH = 72
# An imperative has no ending; these have one that belongs to the word.
IMPERATIVES_WITH_S = {
    "access",
    "address",
    "assess",
    "bypass",
    "compress",
    "discuss",
    "dismiss",
    "express",
    "focus",
    "guess",
    "pass",
    "press",
    "process",
}
IMPERATIVES_WITH_ED = {"embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed"}
IMPERATIVES_WITH_ING = {"bring", "ping", "ring", "string"}
NOT_IMPERATIVE = re.compile(r"\w+(?:s|ed|ing)")


def find_faults(subject: str) -> list[str]:
    """Return what's wrong with a subject; a merge's subject is git's own and always passes."""
    if subject.startswith("Merge "):
        return []
    first = subject.partition(" ")[0].lower()
    imperative = (
        first in IMPERATIVES_WITH_S | IMPERATIVES_WITH_ED | IMPERATIVES_WITH_ING or not NOT_IMPERATIVE.fullmatch(first)
    )
    faults = {
        f"longer than {MAX_LENGTH} characters ({len(subject)})": len(subject) > MAX_LENGTH,
        "not in the imperative": not imperative or not first.isalpha(),
        "doesn't begin with a capital letter": not subject[:1].isupper(),
        "ends with a period": subject.endswith("."),
    }
    return [fault for fault, present in faults.items() if present]


def main() -> int:
    """Print each fault; return 1 if there's any."""
    lines = [line.rstrip("\n") for line in sys.stdin]
    faults = [f"{subject}: {fault}" for subject in lines for fault in find_faults(subject)]
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
