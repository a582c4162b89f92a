"""Settings of passwords: how they are hashed, and which are refused."""

PASSWORD_HASHERS = [
    "integrations.cus_accounts.password_hashing.CusArgon2PasswordHasher",
    "integrations.cus_accounts.password_hashing.CusPBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Django tells validators of every change of a password; these end the person's tokens and sessions.
AUTH_PASSWORD_VALIDATORS += [
    {"NAME": "integrations.cus_accounts.token_service.EndTokensWithPassword"},
    {"NAME": "integrations.cus_accounts.session_service.EndSessionsWithPassword"},
]
