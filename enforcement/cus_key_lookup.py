"""The statement that looks an SDK key up for checks."""

from integrations.cus_keys.verifier import FIND_KEY

PREPARED = (f"PREPARE cus_find_key (bytea) AS {FIND_KEY.format('$1')}",)
