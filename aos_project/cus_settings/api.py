"""Settings of the HTTP API."""

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
