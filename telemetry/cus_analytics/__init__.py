"""Analytics: rebuilt from evidence at any time; nothing decides by them."""
