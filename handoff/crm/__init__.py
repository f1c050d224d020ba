"""Where customers and orders come from."""
