"""The same functions over many machines. The only place that knows Ray."""
