"""Health of integrations: what a check finds, and what follows."""
