"""Files, data frames and databases to tables: formats, columns, ids, ratings and times, checked by row."""
