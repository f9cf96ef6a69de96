"""Features of users and items: typed columns, what they are inferred from, and their sparse blocks."""
