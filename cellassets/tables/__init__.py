"""Tables: schemas (columns, types, units), reading and writing Parquet, and SQL over published tables."""
