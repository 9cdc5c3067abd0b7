"""The broker that reads documents for the tests of a process: it doesn't end between two that need it, for its start takes a second."""

from digest.collect.sandbox import broker

IDLE_SECONDS = 3600.0

if __name__ == "__main__":
    broker.IDLE_SECONDS = IDLE_SECONDS
    broker.serve_requests()
