"""Lists for one user or for all, in memory or streamed to files."""
