"""The sources as rows, their days, and how often their pages were read."""
