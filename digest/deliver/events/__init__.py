"""What comes back from the world after a message was handed over, made into events (`digest.deliver.events.processor`)."""
