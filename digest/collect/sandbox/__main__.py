"""The broker's process: `python -m digest.collect.sandbox`, started by `client`, spoken to over its pipes."""

from digest.collect.sandbox.broker import serve_requests

if __name__ == "__main__":
    serve_requests()
