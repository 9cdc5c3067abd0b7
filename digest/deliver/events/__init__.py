"""Events: reports about messages after they were handed over (`digest.deliver.events.event_processor`)."""
