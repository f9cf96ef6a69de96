"""Public data sets by name: fetched once, checked, unpacked into a cache."""
