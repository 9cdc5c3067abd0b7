"""Events, which are reports about messages after they were handed over.

See `digest.deliver.events.event_processor`.
"""
