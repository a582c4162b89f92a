"""What the authority plane's HTTP side rests on: errors, JSON, pages, strict fields. Knows no tenant."""
