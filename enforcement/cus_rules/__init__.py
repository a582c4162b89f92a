"""The rules of decisions: pure, from facts to a verdict."""
