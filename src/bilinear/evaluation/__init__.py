"""Metrics of predictions and rankings, with bootstrap intervals and paired comparisons."""
