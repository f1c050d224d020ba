"""What runs inside Rasa's process (Python 3.10): normaliser, classifier, wording of answers."""
