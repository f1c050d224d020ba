"""The customers' side: everything between a messenger and Rasa."""
