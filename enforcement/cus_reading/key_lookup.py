"""The prepared statement that looks up an SDK key for checks."""

from integrations.cus_keys.verifier import FIND_KEY

PREPARED = (f"PREPARE cus_find_key (bytea) AS {FIND_KEY.format('$1')}",)
