"""Letters out, letters in, and how they belong together."""
