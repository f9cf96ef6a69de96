"""Parameters, the link from score to prediction, and scoring."""
