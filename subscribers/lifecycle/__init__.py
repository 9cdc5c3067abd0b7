"""Changes to a person on the list: unsubscribing, a new address, erasure, and feedback."""
