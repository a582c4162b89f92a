"""The statement that looks an SDK key up for checks."""

# Revoked is gone; whether it has expired depends on when it is used.
PREPARED = (
    """
PREPARE cus_find_key (bytea) AS
SELECT json_build_array(tenant_id, integration_id, expires_at, encode(secret_hash, 'hex'))
FROM cus_sdk_keys WHERE secret_hash = $1 AND revoked_at IS NULL
""",
)
