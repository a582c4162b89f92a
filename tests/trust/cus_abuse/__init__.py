"""What its users' enemies do to the product: with a key, with an admin's session, with a network."""
