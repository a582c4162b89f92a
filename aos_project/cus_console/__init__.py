"""Pages that compose the planes: the first page, the search, permanent links, the sidebar."""
