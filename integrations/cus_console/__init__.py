"""The common parts of the console's pages."""
