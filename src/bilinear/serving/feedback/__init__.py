"""Feedback: the stores, and what is written to and read from them in bulk."""
