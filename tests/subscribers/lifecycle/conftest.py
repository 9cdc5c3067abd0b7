"""The installation of the web tests, for the pages and acts of readers."""

from tests.web.conftest import both, build_world, world

__all__ = ["both", "build_world", "world"]
