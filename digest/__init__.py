"""The newsletter: sources → articles → stories → edition → deliveries → events.

Imports point down only; the order of the layers stands in `tests/test_layers.py`.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hls-digest")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0"
