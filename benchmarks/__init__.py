"""What the product does in a second, beside what else one could do (`make bench`)."""
