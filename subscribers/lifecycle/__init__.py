"""What happens to a person on the list: leaving, moving, erasure, feedback."""
