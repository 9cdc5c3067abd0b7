"""Stories → edition: arrange, render once, check, approve."""
