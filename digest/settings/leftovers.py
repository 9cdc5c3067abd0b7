"""What a publication of another name would still say of the one that the defaults are made for."""

from digest.settings.model import SettingsFile

# Tables and keys whose defaults name HLS.Today or what it is about.
_NAMING_KEYS = (("publication", "tagline"), ("publication", "site"), ("publication", "about"), ("sender", "name"))
_SAMPLE_ADDRESS_KEYS = ("address", "reply_to", "list_id")
_SAMPLE_DOMAIN = "news.example.org"


def list_foreign_texts(file: SettingsFile) -> tuple[str, ...]:
    """Name the settings that still say what HLS.Today says, though the publication has another name."""
    return tuple(f"{table}.{key}" for table, key in _NAMING_KEYS if _is_foreign(file, table, key))


def list_sample_addresses(file: SettingsFile) -> tuple[str, ...]:
    """Name the sender's settings that still hold the sample's address, though the publication has another name."""
    if not _has_other_name(file):
        return ()
    return tuple(
        f"sender.{key}" for key in _SAMPLE_ADDRESS_KEYS if str(getattr(file.sender, key)).endswith(_SAMPLE_DOMAIN)
    )


def _is_foreign(file: SettingsFile, table: str, key: str) -> bool:
    return _has_other_name(file) and getattr(getattr(file, table), key) == getattr(getattr(SettingsFile(), table), key)


def _has_other_name(file: SettingsFile) -> bool:
    return file.publication.name != SettingsFile().publication.name
