"""Names that settings, commands, and options had before, with the names that they have now: they're refused with a sentence that says so."""

RENAMED_SETTINGS: dict[str, str] = {}  # by the key as errors show it
RENAMED_COMMANDS = {"digest hold": "digest pause --all", "digest release": "digest resume --all"}
