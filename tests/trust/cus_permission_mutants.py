"""Holes made on purpose in the code that says who may what: a test must fall into each.

`make mutate-permissions` makes them one at a time in a copy of the tree, runs the tests that
should notice, and says which did. ARGS='visible' takes those whose file or sentence has the word.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.trust.cus_feature_mutants import OF_FEATURES
from tests.trust.cus_mutant import Mutant, copied, killed

MATRIX = "tests/api/test_cus_access_matrix.py"


def _route(path: str) -> str:
    """The test of the matrix on one route."""
    return f"{MATRIX}::test_everybody_gets_what_the_table_says[{path}]"


ONE = _route("integrations/{integration_id}")
INCREASES = _route("increase-requests")
KEYS = _route("integrations/{integration_id}/keys")
MEMBERS = _route("members")
MEMBER = _route("members/{member_id}")
PRICES = _route("price-overrides")
TOKENS = _route("tokens")
TOKEN = _route("tokens/{token_id}")
USAGE = _route("telemetry/llm-usage")
SCOPE = "tests/admin/test_cus_console_scope.py"
OWN_PAGES = "tests/admin/test_cus_own_pages.py"
FACTOR = "tests/admin/test_cus_second_factor.py"
PEOPLE = "tests/admin/test_cus_people_pages.py"
INCREASES_API = "tests/api/test_cus_increase_requests.py"
SERVICE = "tests/services/test_cus_members.py"


_OF_ROLES = [
    Mutant(
        "accounts/permissions",
        "not isinstance(user, CusUser) or not user.is_active",
        "not isinstance(user, CusUser)",
        "Who was deactivated keeps their role.",
        "tests/api/test_cus_tokens.py",
    ),
    Mutant(
        "accounts/permissions",
        "if user.is_superuser:",
        "if user.is_superuser or user.is_staff:",
        "Everybody who may sign in to the console is an operator.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        "    if user.is_support:\n        return",
        "    if user.is_staff:\n        return",
        "Everybody who is no operator is support, and sees all tenants.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        "return membership.role if membership else None",
        'return membership.role if membership else "member"',
        "Who has no role is a member.",
        TOKENS,
    ),
    Mutant(
        "accounts/permissions",
        "return membership.tenant\n",
        "return CusTenant.objects.order_by('-created_at').first()\n",
        "One's own tenant is the newest there is.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        "if sees_all_tenants(user):\n        return queryset",
        'if sees_all_tenants(user) or role_of(user) == "admin":\n        return queryset',
        "A tenant's admin sees the rows of all tenants.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        "return queryset.filter(tenant_id=own_tenant(user))",
        "return queryset",
        "`visible_to` shows everybody everything.",
        MEMBER,
    ),
    Mutant(
        "accounts/permissions",
        "return queryset.none()",
        "return queryset",
        "`visible_to` shows everything to who has no role.",
        "tests/services/test_cus_permissions.py",
    ),
    Mutant(
        "accounts/permissions",
        "return role is not None\n",
        "return True\n",
        "Who has no role reads.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        'return role in ("operator", "admin")',
        'return role in ("operator", "admin", "member")',
        "A tenant's members change what its admins should.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        'return role in ("operator", "admin")',
        'return role in ("operator", "admin", "support")',
        "Support changes what it should only read.",
        ONE,
    ),
    Mutant(
        "accounts/permissions",
        'in ("operator", "finance")',
        'in ("operator", "finance", "admin")',
        "A tenant's admin closes months.",
        "tests/api/test_cus_month_close.py",
    ),
    Mutant(
        "accounts/permissions",
        "if not sees_all_tenants(user):\n        return CusTenant",
        'if not sees_all_tenants(user) and role_of(user) != "admin":\n        return CusTenant',
        "A tenant's admin names the tenant that a request is about.",
        PRICES,
    ),
    Mutant(
        "accounts/permissions",
        "filter(user=user, tenant__closed_at__isnull=True)",
        "filter(user=user)",
        "People of a closed tenant go on as before.",
        ONE,
    ),
    Mutant(
        "accounts/api",
        "permission_classes = [IsTenantPerson]",
        "permission_classes = []",
        "A view that says nothing of its own is open to everybody who proves who they are.",
        ONE,
    ),
    Mutant(
        "accounts/authentication",
        "if found is None:\n            raise AuthenticationFailed(",
        "if found is None:\n            return None\n        if False:\n            raise AuthenticationFailed(",
        "A dead API token is nobody's, and no error.",
        "tests/api/test_cus_tokens.py",
    ),
    Mutant(
        "keys/authentication",
        "if principal is None:\n            raise AuthenticationFailed(",
        "if principal is None:\n            return None\n        if False:\n            raise AuthenticationFailed(",
        "A revoked SDK key gets another answer than that it is not valid.",
        "tests/api/test_cus_telemetry.py",
    ),
    Mutant(
        "keys/authentication",
        "return isinstance(request.user, SdkPrincipal)",
        "return True",
        "The SDK's routes are open to who sends no key.",
        USAGE,
    ),
    Mutant(
        "accounts/token_service",
        "if role_of(token.user) is None:\n        return None",
        "if False:\n        return None",
        "A token outlives its person's role.",
        TOKENS,
    ),
    Mutant(
        "accounts/token_service",
        "revoked_at__isnull=True, expiry__gt=now)\n    token",
        "expiry__gt=now)\n    token",
        "A revoked token goes on.",
        "tests/api/test_cus_tokens.py",
    ),
    Mutant(
        "accounts/token_service",
        "return CusApiToken.objects.filter(user=self.user)",
        "return CusApiToken.objects.all()",
        "Everybody's tokens are one's own to list and to revoke.",
        TOKEN,
    ),
    Mutant(
        "keys/api",
        'return role_of(request.user) in ("operator", "admin")',
        "return role_of(request.user) is not None",
        "Members and support see and issue SDK keys.",
        KEYS,
    ),
    Mutant(
        "tenancy/api",
        'role_of(request.user) in ("support", "finance"):\n            return False',
        'role_of(request.user) in ("support", "finance"):\n            return True',
        "Support reads whom tenants employ.",
        MEMBERS,
    ),
    Mutant(
        "access/api",
        "return role_of(request.user) is not None",
        "return True",
        "Who has no role makes API tokens.",
        TOKENS,
    ),
    Mutant(
        "lifecycle/api",
        "rows = visible_to(CusIntegration.objects.filter(deleted_at__isnull=True), person)\n    integration",
        "rows = CusIntegration.objects.filter(deleted_at__isnull=True)\n    integration",
        "An integration is found by whoever knows its id.",
        ONE,
    ),
    Mutant(
        "integrations/api",
        'return {"shows_credentials": role_of(request.user) not in ("support", "finance")}',
        'return {"shows_credentials": True}',
        "Support sees the end of a credential.",
        "tests/api/test_cus_integrations.py",
    ),
    Mutant(
        "integrations/service",
        'elif "config" in values:',
        'elif "name" in values:',
        "A stored credential is sent to another address without being entered again.",
        "tests/api/test_cus_integrations.py",
    ),
    Mutant(
        "integrations/service",
        "if reference:\n            self._require_operator()",
        "if reference is None:\n            self._require_operator()",
        "A tenant's admin names a credential of the server's.",
        "tests/services/test_cus_integration_service.py",
    ),
    Mutant(
        "keys/service",
        "key = self.scope().filter(id=key_id).first()",
        "rows = CusSdkKey.objects.filter(tenant_id=self.integration.tenant_id)\n"
        "        key = rows.filter(id=key_id).first()",
        "A key is revoked by way of another integration of the tenant.",
        f"{MATRIX}::test_everybody_gets_what_the_table_says[integrations/{{integration_id}}/keys/{{key_id}}]",
    ),
    Mutant(
        "tenancy/member_service",
        "if self.actor and membership.user_id == self.actor.id:\n            raise OwnRole",
        "if False:\n            raise OwnRole",
        "People raise themselves.",
        SERVICE,
    ),
    Mutant(
        "accounts/second_factor_gate",
        "or not second_factor_is_due(request)",
        "or True",
        "A password alone opens every page.",
        FACTOR,
    ),
    Mutant(
        "accounts/second_factor_gate",
        "            request.user = AnonymousUser()\n",
        "",
        "A session with a password alone reaches the API.",
        FACTOR,
    ),
    Mutant(
        "accounts/second_factor_gate",
        "return settings.CUS_REQUIRE_TOTP or CusSecondFactorService(user).is_set_up()",
        "return settings.CUS_REQUIRE_TOTP",
        "Who set up a second factor is not asked for it where it is not required.",
        FACTOR,
    ),
    Mutant(
        "accounts/second_factor_service",
        "filter(user=self.user, confirmed=True).first()",
        "filter(confirmed=True).last()",
        "Another person's code opens the console.",
        FACTOR,
    ),
    Mutant(
        "increases/api",
        "return role_of(request.user) in ASKERS",
        "return role_of(request.user) is not None",
        "Support and finance ask for more room.",
        INCREASES,
    ),
    Mutant(
        "increases/api",
        "limit = visible_to(living, person).filter(id=limit_id).first()",
        "limit = living.filter(id=limit_id).first()",
        "Another tenant's limit is asked to be raised.",
        INCREASES,
    ),
    Mutant(
        "increases/service",
        "if self.actor is not None and request.created_by_id == self.actor.pk:",
        "if False:",
        "People approve what they asked for themselves.",
        INCREASES_API,
    ),
    Mutant(
        "increases/admin",
        "def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:\n"
        "        return role_of(request.user) in DECIDERS",
        "def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:\n"
        "        return role_of(request.user) in ASKERS",
        "Members decide on increases in the console.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        'return visible_to(super().get_queryset(request), cast("CusUser", request.user))',
        "return super().get_queryset(request)",
        "The console's lists show all tenants to everybody.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        'return field in shown and comparison in ("", "exact", "in", "isnull", "id__exact")',
        "return True",
        "A hidden column is guessed by URL.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        "        if not self.has_view_permission(request):\n            raise PermissionDenied\n        if",
        "        if",
        "A picker looks where its page may not.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        'return tenants.filter(id=own) if own and role == "admin" else tenants.none()',
        "return tenants",
        "A picker offers other tenants.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        "return role_of(request.user) in self.viewers",
        "return role_of(request.user) is not None",
        "Every page of the console exists for everybody with a role.",
        SCOPE,
    ),
    Mutant(
        "console/pages",
        "if not may or self.get_object(request, object_id) is None:",
        "if not may:",
        "A row's history is led to for who may not see the row.",
        SCOPE,
    ),
    Mutant(
        "console/actions",
        "return bool(self.has_change_permission(request))",
        "return bool(self.has_view_permission(request))",
        "Who may see a row presses its buttons.",
        f"{SCOPE}::test_a_button_pressed_by_hand_does_nothing_for_who_may_not",
    ),
    Mutant(
        "console/actions",
        'if request.method in ("GET", "HEAD"):',
        "if False:",
        "A link that somebody sends is refused, and no page asks.",
        SCOPE,
    ),
    Mutant(
        "console/export",
        "rows = _asked(self.get_export_queryset(request))",
        "rows = _asked(self.model._default_manager.all())",
        "An export has the rows of all tenants.",
        f"{SCOPE}::test_a_list_and_its_export_hold_the_same_rows_and_nothing_foreign",
    ),
    Mutant(
        "console/forms",
        "    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:\n"
        "        return role_of(request.user) in self.changers",
        "    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:\n"
        "        return True",
        "Who may see a form saves it.",
        SCOPE,
    ),
    Mutant(
        "console/forms",
        'if role_of(request.user) == "operator":\n        tenant',
        "if True:\n        tenant",
        "A tenant's admin chooses the tenant of a new row.",
        f"{SCOPE} {PEOPLE} tests/admin/test_cus_integration_pages.py",
    ),
    Mutant(
        "console/page_tenant",
        "    if not sees_all_tenants(user):\n        own = tenant_of_member(user)",
        "    if not named:\n        own = tenant_of_member(user)",
        "The statement, the seals and the coverage of any tenant that the address names are shown.",
        OWN_PAGES,
    ),
]


MUTANTS = [*_OF_ROLES, *OF_FEATURES]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Make each hole; 1 if any survived."""
    chosen = [one for one in MUTANTS if all(word in f"{one.file} {one.breaks}" for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for number, mutant in enumerate(chosen, 1):
            start = time.monotonic()
            dead = killed(mutant, tree)
            survived += not dead
            fate = "killed" if dead else "SURVIVED"
            took = f"{fate:8} {time.monotonic() - start:4.0f} s"
            _say(f"{number:3} {took}  {mutant.path.name}: {mutant.breaks}")
    _say(f"{len(chosen)} mutants, {len(chosen) - survived} killed, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
