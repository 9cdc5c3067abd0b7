"""Setup of an installation: questions and answers, the resulting files, and the remaining steps."""
