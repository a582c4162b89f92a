"""The providers that an integration may be an account of."""

from django.db import models


class Provider(models.TextChoices):
    """A provider by the name that it is stored, sent and priced under."""

    OPENAI = "openai", "OpenAI"
    ANTHROPIC = "anthropic", "Anthropic"
    AZURE_OPENAI = "azure_openai", "Azure OpenAI"
    BEDROCK = "bedrock", "Amazon Bedrock"
    CUSTOM = "custom", "OpenAI-compatible"
