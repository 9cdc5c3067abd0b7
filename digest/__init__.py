"""The newsletter application, from sources to articles, stories, editions, deliveries, and events.

Imports only point down. `tests/test_layers.py` lists the layers in order.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hls-digest")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0"
