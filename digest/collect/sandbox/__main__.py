"""The broker's process, `python -m digest.collect.sandbox`, which `client` starts and talks to over pipes."""

from digest.collect.sandbox.broker import serve_requests

if __name__ == "__main__":
    serve_requests()
