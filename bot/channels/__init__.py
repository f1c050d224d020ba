"""Messengers: raw update to our message and back; only these modules know a messenger's API."""
