"""Optimisers and schedules compared on one objective and one budget."""
