"""Events, which are reports about messages that have been handed over.

See `digest.deliver.events.event_processor`.
"""
