"""Setting an installation up: questions and answers, the files that follow from them, and what is left to do."""
