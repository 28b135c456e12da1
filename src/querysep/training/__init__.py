"""Lightning modules, data modules and losses: the only place that knows Lightning."""
