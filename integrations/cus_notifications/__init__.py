"""People are told: of limits, refusals, credentials and stops, by mail and by a signed webhook."""
