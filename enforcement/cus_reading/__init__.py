"""The decider's own connection to authority and evidence, and what its absence means."""
