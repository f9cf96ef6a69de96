"""Parameters, the link from score to prediction, scoring, and model folders on disk."""
