"""Tests of the whole system as a person starts it."""
