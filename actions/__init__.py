"""Rasa's custom actions: tracker in, events out, no logic of their own."""
