"""The query-conditioned separator. It sees a condition and knows nothing of where that came from."""
