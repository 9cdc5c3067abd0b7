"""Where a face still goes around `digest.app`: its module, and the modules below that it acts or looks through."""

_REACHED: dict[str, tuple[str, ...]] = {
    "digest.cli.common": ("subscribers.address",),
    "digest.cli.demo": (
        "digest.collect.fetch.bundled_fetcher",
        "digest.collect.fetch.fetcher",
        "digest.collect.readership",
        "digest.store.models",
        "subscribers.consent.preferences",
        "subscribers.crypto.keys",
    ),
    "digest.cli.staff": ("digest.store.delivery_models",),
    "digest.web.app": ("digest.deliver.providers.registry", "digest.edition.rendering.fragments"),
    "digest.web.archive.pages": ("digest.store.models",),
    "digest.web.desk.edition_outline": ("digest.collect.urls", "digest.store.models"),
    "digest.web.desk.status_rows": ("digest.store.models",),
    "digest.web.filters": ("digest.collect.urls",),
    "digest.web.health": ("digest.store.engine",),
    "digest.web.page_context": (
        "digest.deliver.retention.delivery_disclosures",
        "digest.deliver.retention.person_erasure",
        "subscribers.consent.departure_log",
    ),
    "digest.web.signup_context": ("digest.deliver.plan.upcoming_edition",),
    "digest.web.staff_link": ("digest.store.staff", "subscribers.address"),
}
FACE_EXCEPTIONS = frozenset((face, module) for face, reached in _REACHED.items() for module in reached)
