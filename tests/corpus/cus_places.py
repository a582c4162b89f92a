"""The places that calls of the corpus go to, and the pages that tell their prices."""

from typing import Final

from tests.corpus.cus_calls import Place

OPENAI: Final = Place("openai", "https://api.openai.com/v1", "openai")
OPENAI_EU: Final = Place("openai", "https://eu.api.openai.com/v1", "openai", "eu")
OPENAI_US: Final = Place("openai", "https://us.api.openai.com/v1", "openai", "us")
AZURE: Final = Place("azure", "https://acme.openai.azure.com", "azure_openai")
AZURE_V1: Final = Place("openai", "https://acme.openai.azure.com/openai/v1/", "azure_openai")
DEEPSEEK: Final = Place("openai", "https://api.deepseek.com", "deepseek")
GROQ: Final = Place("openai", "https://api.groq.com/openai/v1", "groq")
OPENROUTER: Final = Place("openai", "https://openrouter.ai/api/v1", "openrouter")
X_AI: Final = Place("openai", "https://api.x.ai/v1", "x-ai")
MISTRAL: Final = Place("openai", "https://api.mistral.ai/v1", "mistral")
MOONSHOT: Final = Place("openai", "https://api.moonshot.ai/v1", "moonshotai")
TOGETHER: Final = Place("openai", "https://api.together.xyz/v1", "together")
FIREWORKS: Final = Place("openai", "https://api.fireworks.ai/inference/v1", "fireworks")
PERPLEXITY: Final = Place("openai", "https://api.perplexity.ai", "perplexity")
CEREBRAS: Final = Place("openai", "https://api.cerebras.ai/v1", "cerebras")
GOOGLE: Final = Place(
    "openai", "https://generativelanguage.googleapis.com/v1beta/openai/", "google"
)
BEDROCK_OPENAI: Final = Place(
    "openai", "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1", "bedrock", "us-west-2"
)
ANTHROPIC: Final = Place("anthropic", "https://api.anthropic.com", "anthropic")

# Titles and dates as of which each page's rules were taken down.
OPENAI_PRICING: Final = "Pricing, OpenAI API docs, 2026-11-28"
OPENAI_GPT_5_4: Final = "GPT-5.4, OpenAI API docs, 2026-11-28"
OPENAI_DEPRECATIONS: Final = "Deprecations, OpenAI API docs, 2026-11-28"
OPENAI_BATCH: Final = "Batch API, OpenAI API docs, 2026-11-28"
OPENAI_BACKGROUND: Final = "Background mode, OpenAI API docs, 2026-11-28"
OPENAI_ERRORS: Final = "Error codes, OpenAI API docs, 2026-11-28"
AZURE_PRICING: Final = "Azure OpenAI Service pricing, 2026-11-28"
ANTHROPIC_PRICING: Final = "Pricing, Claude docs, 2026-11-28"
ANTHROPIC_BATCH: Final = "Batch processing, Claude docs, 2026-11-28"
ANTHROPIC_ERRORS: Final = "Errors, Claude docs, 2026-11-28"
BEDROCK_PRICING: Final = "Amazon Bedrock pricing, 2026-11-28"
VERTEX_PRICING: Final = "Vertex AI pricing for generative AI, 2026-11-28"


def bedrock(region: str, billed: str | None = None) -> Place:
    """Bedrock in a region; `billed` is the region that the model's name takes the call to."""
    host = f"https://bedrock-runtime.{region}.amazonaws.com"
    return Place("bedrock", host, "bedrock", billed or region)


def vertex(region: str) -> Place:
    """Vertex AI in a region, in a multi-region or global."""
    return Place("vertex", region, "vertex", region)
