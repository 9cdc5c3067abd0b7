"""What is reported about messages after they were handed over, as events (`digest.deliver.events.event_processor`)."""
