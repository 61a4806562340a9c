"""One cluster as one user sees it: the facade, its parts, and what builds on them."""
