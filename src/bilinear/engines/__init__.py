"""Engines: where shards of lists and measurements are worked on, by this process or by a cluster."""
