"""`python -m tests.trust.cus_abuse.make_people 2`: two tenants with people and keys, as JSON.

`admin` signs in with a password; `totp` is an admin who has an authenticator besides, whose seed
is given in base32. `keys` are of two sibling integrations. `integration_id` names a third one, of
type `custom`, which stores the credential `secret`.
"""

import base64
import json
import os
import secrets
import sys
import uuid
from typing import Any

import django


def main(tenants: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    django.setup()
    from django.contrib.auth.hashers import make_password
    from django.db import transaction

    # All share one: to hash a password takes long, on purpose.
    password = secrets.token_urlsafe(12)
    stored = make_password(password)
    with transaction.atomic():
        made = [_tenant(password, stored) for _ in range(tenants)]
    sys.stdout.write(json.dumps(made))


def _tenant(password: str, stored: str) -> dict[str, Any]:
    from integrations.cus_keys.verifier import issue_sdk_key
    from tests.cus_factories import make_integration, make_tenant

    tenant = make_tenant(f"Attacked {uuid.uuid4()}")
    secret = f"sk-stored-{secrets.token_hex(16)}"
    # The port of the discard service, on which no server answers.
    integration = make_integration(
        tenant,
        provider_type="custom",
        credential={"api_key": secret},
        config={"base_url": "http://127.0.0.1:9/v1"},
    )
    return {
        "tenant_id": str(tenant.id),
        "integration_id": str(integration.id),
        "keys": [issue_sdk_key(make_integration(tenant))[1] for _ in range(2)],
        "secret": secret,
        "admin": _admin(tenant, stored) | {"password": password},
        "totp": _admin(tenant, stored, second_factor=True) | {"password": password},
    }


def _admin(tenant: Any, stored: str, *, second_factor: bool = False) -> dict[str, Any]:
    from integrations.cus_accounts.models import CusUser
    from integrations.cus_tenancy.member_service import CusMemberService

    email = f"admin-{uuid.uuid4()}@example.com"
    user = CusUser.objects.create_user(email, is_staff=True)
    CusUser.objects.filter(id=user.id).update(password=stored)
    CusMemberService(tenant).add(user, "admin")
    seed = _seed(user) if second_factor else None
    return {"email": email, "seed": seed, "user_id": str(user.id)}


def _seed(user: Any) -> str:
    from integrations.cus_accounts.models import CusTotpDevice

    device = CusTotpDevice.objects.create(user=user, name="Authenticator", confirmed=True)
    return base64.b32encode(device.bin_key).decode()


if __name__ == "__main__":
    main(int(sys.argv[1]))
