"""The named protocols: which trials a model gets, and the rows and tables that come of them."""
