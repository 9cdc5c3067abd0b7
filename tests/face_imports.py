"""Places where an interface still bypasses `digest.app`: its module, and the lower modules that it uses."""

_REACHED: dict[str, tuple[str, ...]] = {
    "digest.cli.context": ("subscribers.address",),
    "digest.web.filters": ("digest.collect.texts.urls",),
}
FACE_EXCEPTIONS = frozenset((face, module) for face, reached in _REACHED.items() for module in reached)
