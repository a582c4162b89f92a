"""Settings of the HTTP API and of its document."""

REST_FRAMEWORK = {
    # The first class determines the answer without credentials: 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "integrations.cus_accounts.authentication.CusTokenAuthentication",
        "integrations.cus_accounts.authentication.CusSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["integrations.cus_web.json.CusJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "aos_project.cus_schema.CusAutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    # There is a single version, and the document must not name another that a request asks for.
    "ALLOWED_VERSIONS": ["1"],
}
KNOX_TOKEN_MODEL = "integrations.CusApiToken"  # noqa: S105  (a model's name)
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "aost_", "TOKEN_TTL": None}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "aos_project.cus_exceptions.CusExceptionHandler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AOS Customer Integrations",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # From our own files, so that browsers load nothing from other servers.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Two fields have these choices, so the document can't take a name from one of them.
    "ENUM_NAME_OVERRIDES": {
        "SimulatedResultEnum": "enforcement.cus_what_if.serializers.CAN_BE",
    },
}
