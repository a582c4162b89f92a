"""Month close and invoice check: sealed statements, and providers' invoices beside usage."""
