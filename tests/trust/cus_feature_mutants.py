"""Holes in what single features say of who may what; `cus_permission_mutants` makes them.

Those of roles, tokens, tenants and the console's own bases are in that module.
"""

from tests.trust.cus_mutant import Mutant

ATTENTION = "tests/admin/test_cus_attention.py"
COST = "tests/admin/test_cus_cost_page.py"
INCREASES_API = "tests/api/test_cus_increase_requests.py"
KEYS_OF_CHECKS = "tests/enforcement/test_cus_check_keys.py"
LIMITS = "tests/admin/test_cus_limit_pages.py"
OWN_PAGES = "tests/admin/test_cus_own_pages.py"
PANELS = "tests/admin/test_cus_panels.py"
PROOF = "tests/api/test_cus_proof.py tests/admin/test_cus_proof_page.py"
RIGHTS = "tests/api/test_cus_token_rights.py"
ROTATE = (
    "tests/api/test_cus_access_matrix.py"
    "::test_everybody_gets_what_the_table_says[notifications/targets/{target_id}/rotate]"
)
RUN_BUDGETS = "tests/admin/test_cus_run_limit_pages.py"
SCOPE = "tests/admin/test_cus_console_scope.py"
STATEMENTS = "tests/admin/test_cus_statement_pages.py"
TARGETS = "tests/services/test_cus_notification_targets.py"
TELEMETRY = "tests/api/test_cus_telemetry.py"
WHAT_IF = "tests/admin/test_cus_what_if_pages.py"

OF_FEATURES = [
    # --- Tokens, proofs and SDK keys ---
    Mutant(
        "accounts/authentication",
        "if found and found[1].read_only and request.method not in _READING:",
        "if False:",
        "A read-only token writes.",
        RIGHTS,
    ),
    Mutant(
        "accounts/token_rights",
        "return not outer or are_within(inner, outer)",
        "return True",
        "A token for some addresses makes a token for all of them.",
        RIGHTS,
    ),
    Mutant(
        "accounts/proof",
        "[Factor.PASSWORD, Factor.CODE] if has_code else [Factor.PASSWORD]",
        "[Factor.PASSWORD]",
        "Who has an authenticator proves who they are by the password alone.",
        PROOF,
    ),
    Mutant(
        "accounts/proof",
        "        if not token.may_change_access:\n            raise TokenMayNotChangeAccess\n",
        "",
        "Every API token changes access.",
        PROOF,
    ),
    Mutant(
        "keys/verifier",
        "return not expired and self[1:3] == named[:2]",
        "return not expired",
        "An SDK key is good for whichever integration its text names.",
        KEYS_OF_CHECKS,
    ),
    Mutant(
        "checks/keys",
        "if known is None or not known.vouches(named, now):",
        "if known is None:",
        "While the database is away, a known key is good for any integration.",
        KEYS_OF_CHECKS,
        app="enforcement",
    ),
    Mutant(
        "evidence/service",
        "if record.integration_id not in (None, self.principal.integration_id):",
        "if False:",
        "A report that names another integration is taken as its own.",
        TELEMETRY,
        app="telemetry",
    ),
    # --- Limits at scopes, stops, increases ---
    Mutant(
        "lifecycle/console",
        'kwargs["queryset"] = visible_to(living, cast("CusUser", request.user))',
        'kwargs["queryset"] = living',
        "Stops and limits are made for another tenant's integration.",
        f"{LIMITS} {SCOPE}",
    ),
    Mutant(
        "stops/admin",
        "return role_of(request.user) in self.changers",
        "return True",
        "Members and support lift stops.",
        SCOPE,
    ),
    Mutant(
        "increases/form",
        "for integration in visible_to(living, person)[:MOST_OFFERED]:",
        "for integration in living[:MOST_OFFERED]:",
        "The form offers other tenants' budgets, and asks that they be raised.",
        LIMITS,
    ),
    Mutant(
        "increases/service",
        "if self.actor is None or request.created_by_id != self.actor.pk:",
        "if False:",
        "People withdraw what others asked for.",
        INCREASES_API,
    ),
    Mutant(
        "increases/mails",
        "tenant_id=request.tenant_id, role=CusMembership.Role.ADMIN, user__is_active=True",
        "role=CusMembership.Role.ADMIN, user__is_active=True",
        "The admins of all tenants are mailed who asks for what.",
        INCREASES_API,
    ),
    # --- Notifications ---
    Mutant(
        "notifications/announcing",
        "tenant_id=notice.tenant_id, deleted_at__isnull=True, tenant__closed_at__isnull=True",
        "deleted_at__isnull=True, tenant__closed_at__isnull=True",
        "Every tenant's targets are told of an event.",
        TARGETS,
    ),
    Mutant(
        "notifications/announcing",
        "people.filter(is_gone | Q(id__in=muted))",
        "people.filter(id__in=muted)",
        "Who has left is told on.",
        TARGETS,
    ),
    Mutant(
        "notifications/api",
        'return role_of(request.user) in ("operator", "admin")',
        "return role_of(request.user) is not None",
        "Members and support rotate the secrets of webhooks.",
        ROTATE,
    ),
    # --- Budgets in code, and what-if ---
    Mutant(
        "lifecycle/console",
        'get_object_or_404(visible_to(living, cast("CusUser", request.user)), id=integration_id)',
        "get_object_or_404(living, id=integration_id)",
        "Another tenant's budgets in code are read and raised.",
        RUN_BUDGETS,
    ),
    Mutant(
        "run_budgets/console",
        "may_raise = role_of(request.user) in DECIDERS",
        "may_raise = True",
        "Members and support raise budgets in code.",
        RUN_BUDGETS,
        app="telemetry",
    ),
    Mutant(
        "what_if/page",
        "rows = CusWhatIfService(integration.tenant).latest(integration)\n",
        "rows = CusSimulation.objects.all()\n",
        "A simulation of another tenant is read below one's own integration.",
        WHAT_IF,
        app="enforcement",
    ),
    # --- Statements and seals ---
    Mutant(
        "console/page_tenant",
        "    if not sees_all_tenants(user):\n        own",
        '    if role_of(user) in ("admin", "member"):\n        own',
        "A tenant's own finance reads the statements and seals of all tenants.",
        OWN_PAGES,
    ),
    Mutant(
        "console/pages",
        'return visible_to(super().get_queryset(request), cast("CusUser", request.user))',
        'rows = super().get_queryset(request)\n        user = cast("CusUser", request.user)\n'
        '        return rows if role_of(user) == "finance" else visible_to(rows, user)',
        "A tenant's own finance sees the rows of all tenants in the console.",
        SCOPE,
    ),
    Mutant(
        "statements/console",
        "may_enter = role_of(request.user) in _CLOSERS",
        "may_enter = True",
        "Everybody enters invoices.",
        STATEMENTS,
        app="telemetry",
    ),
    Mutant(
        "statements/panels",
        "visible_to(\n            CusMonthStatement.objects.filter(month__in=months), "
        'cast("CusUser", request.user)\n        )\n        .values_list',
        "CusMonthStatement.objects.filter(month__in=months)\n        .values_list",
        "A tenant's own finance sees how many tenants' months are closed.",
        STATEMENTS,
        app="telemetry",
    ),
    # --- What the database lets the product itself do ---
    Mutant(
        "database_roles",
        '_declared(model, "app_privileges", _ALL_ROWS)',
        "_ALL_ROWS",
        "The application changes and deletes evidence, its seals and the audit trail.",
        "tests/trust/test_cus_append_only.py",
    ),
    Mutant(
        "database_roles",
        '    cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")\n',
        "",
        "Whoever may connect to the database calls the functions of its owner.",
        "tests/services/test_cus_function_rights.py",
    ),
    Mutant(
        "probes",
        "if not (_has_token(request) or _from_allowed_network(request)):",
        "if False:",
        "Everybody scrapes the metrics.",
        "tests/api/test_cus_probes.py tests/services/test_cus_probes.py",
        app="aos_project",
    ),
    # --- The first page, the search, the page on cost ---
    Mutant(
        "console/own_pages",
        "            if not self.is_open_to(request):\n                raise PermissionDenied\n",
        "",
        "Everybody with a role opens the page on the system.",
        OWN_PAGES,
        app="aos_project",
    ),
    Mutant(
        "console/panels",
        "panel.page is page and role in panel.viewers",
        "panel.page is page and role",
        "Panels are shown to roles that they are not for.",
        PANELS,
    ),
    Mutant(
        "analytics/attention",
        'visible_to(\n        CusPeriodTotals.objects.filter(period=month), cast("CusUser", request.user)\n    )',
        "CusPeriodTotals.objects.filter(period=month)",
        "What is open of other tenants' months needs one's attention.",
        f"{ATTENTION} {PANELS}",
        app="telemetry",
    ),
    Mutant(
        "analytics/panels",
        "visible_to(\n        CusUsageAnomaly.objects.filter(hour__gte=page_now(request) - _EVENTS_SHOWN_FOR),\n"
        '        cast("CusUser", request.user),\n    )',
        "CusUsageAnomaly.objects.filter(hour__gte=page_now(request) - _EVENTS_SHOWN_FOR)",
        "The first page shows other tenants' unusual hours.",
        f"{PANELS} tests/services/test_cus_unusual_hours.py",
        app="telemetry",
    ),
    Mutant(
        "holds/nearest",
        "\n        AND (integration.tenant_id = %(own)s OR %(own)s IS NULL)",
        "",
        "The first page shows other tenants' budgets.",
        ATTENTION,
        app="telemetry",
    ),
    Mutant(
        "decisions/panels",
        'return visible_to(CusEnforcementDecision.objects.all(), cast("CusUser", request.user))',
        "return CusEnforcementDecision.objects.all()",
        "The search finds other tenants' refusals.",
        PANELS,
        app="enforcement",
    ),
    Mutant(
        "evidence/find_names",
        "\nWHERE asked.id = %(own)s OR %(own)s IS NULL",
        "",
        "The search finds other tenants' agents.",
        PANELS,
        app="telemetry",
    ),
    Mutant(
        "integrations/scopes",
        "_own(request) or _named(request)",
        "_named(request) or _own(request)",
        "The page on cost shows any tenant that the address names.",
        COST,
    ),
]
