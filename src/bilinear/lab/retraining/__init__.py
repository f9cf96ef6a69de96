"""Measurements that train again: on shuffled ratings, on a part of them, with other penalties."""
