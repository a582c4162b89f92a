"""SDK keys: issued, verified, limited, revoked."""
