"""What happens to a person on the list: leaving, a new address, erasure, feedback."""
