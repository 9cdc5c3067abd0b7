"""Where a face still goes around `digest.app`: its module, and the modules below that it acts or looks through."""

_REACHED: dict[str, tuple[str, ...]] = {
    "digest.cli.context": ("subscribers.address",),
    "digest.cli.staff": ("digest.store.delivery_models",),
    "digest.web.desk.edition_outline": ("digest.collect.urls", "digest.store.models"),
    "digest.web.desk.status_rows": ("digest.store.models",),
    "digest.web.filters": ("digest.collect.urls",),
}
FACE_EXCEPTIONS = frozenset((face, module) for face, reached in _REACHED.items() for module in reached)
