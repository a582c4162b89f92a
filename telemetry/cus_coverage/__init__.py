"""Coverage: governed calls compared with calls that bypassed the SDK."""
