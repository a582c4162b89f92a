"""Analytics: rebuilt from evidence at any time; no decision reads them."""
