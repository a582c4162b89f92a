"""The columns of tokens, written out: what is checked by them must not be derived from the code."""

TOKEN_COLUMNS = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
)
