"""Coverage: calls that passed the SDK by, beside those that were stored."""
