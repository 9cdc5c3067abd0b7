"""The installation of the web tests, for subscribers' pages and actions."""

from tests.web.conftest import both, build_world, world

__all__ = ["both", "build_world", "world"]
