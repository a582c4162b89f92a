"""`python -m tests.trust.cus_abuse.make_people 2`: two tenants with an admin each, as JSON.

`admin` signs in with a password; `totp` is an admin who has an authenticator besides, whose seed
is given in base32. The integration is of type `custom` and stores the credential `secret`.
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
    sys.stdout.write(json.dumps([_tenant() for _ in range(tenants)]))


def _tenant() -> dict[str, Any]:
    from integrations.cus_sdk_keys import issue_sdk_key
    from tests.cus_factories import make_integration, make_tenant

    tenant = make_tenant(f"Attacked {uuid.uuid4()}")
    secret = f"sk-stored-{secrets.token_hex(16)}"
    # A port of the discard service: nobody answers there.
    integration = make_integration(
        tenant,
        provider_type="custom",
        credential={"api_key": secret},
        config={"base_url": "http://127.0.0.1:9/v1"},
    )
    return {
        "tenant_id": str(tenant.id),
        "integration_id": str(integration.id),
        "key": issue_sdk_key(integration)[1],
        "secret": secret,
        "admin": _admin(tenant),
        "totp": _admin(tenant, second_factor=True),
    }


def _admin(tenant: Any, *, second_factor: bool = False) -> dict[str, Any]:
    from integrations.cus_member_service import CusMemberService
    from integrations.cus_models import CusUser

    password = secrets.token_urlsafe(12)
    email = f"admin-{uuid.uuid4()}@example.com"
    user = CusUser.objects.create_user(email, password, is_staff=True)
    CusMemberService(tenant).add(user, "admin")
    seed = _seed(user) if second_factor else None
    return {"email": email, "password": password, "seed": seed, "user_id": str(user.id)}


def _seed(user: Any) -> str:
    from integrations.cus_login_models import CusTotpDevice

    device = CusTotpDevice.objects.create(user=user, name="Authenticator", confirmed=True)
    return base64.b32encode(device.bin_key).decode()


if __name__ == "__main__":
    main(int(sys.argv[1]))
