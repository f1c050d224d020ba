"""Customers, tickets and letters; knows neither messengers nor Rasa."""
