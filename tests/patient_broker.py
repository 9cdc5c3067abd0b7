"""The broker that parses documents for a test process. It stays alive between tests, because starting it takes a second."""

from digest.collect.sandbox import broker

IDLE_SECONDS = 3600.0

if __name__ == "__main__":
    broker.IDLE_SECONDS = IDLE_SECONDS
    broker.serve_requests()
