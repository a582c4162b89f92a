"""Health of integrations: checks, their results and the consequences."""
