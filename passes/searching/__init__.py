"""Parts of search-method: closing a graph in every way, judging the ways, and taking one over."""
