"""The ways out: one folder a provider."""
