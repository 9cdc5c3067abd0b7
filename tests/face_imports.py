"""Where a face still goes around `digest.app`: its module, and the modules below that it acts or looks through."""

_REACHED: dict[str, tuple[str, ...]] = {
    "digest.cli.context": ("subscribers.address",),
    "digest.web.filters": ("digest.collect.texts.urls",),
}
FACE_EXCEPTIONS = frozenset((face, module) for face, reached in _REACHED.items() for module in reached)
