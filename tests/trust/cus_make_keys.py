"""`python -m tests.trust.cus_make_keys 2 3`: two tenants of three integrations; prints their keys.

A program of its own, so that a campaign needs no Django: it knows the product by its
doors alone. The keys are JSON, a list for each tenant.
"""

import json
import os
import sys
import uuid

import django


def main(tenants: int, integrations: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    django.setup()
    from django.db import transaction

    from integrations.cus_keys.verifier import issue_sdk_key
    from tests.cus_factories import make_integration, make_tenant

    with transaction.atomic():
        keys = [
            [issue_sdk_key(make_integration(tenant))[1] for _ in range(integrations)]
            for tenant in (make_tenant(f"Campaign {uuid.uuid4()}") for _ in range(tenants))
        ]
    sys.stdout.write(json.dumps(keys))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
