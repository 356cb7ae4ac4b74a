"""Tables: the naming law (columns, dtypes, units), Parquet in and out, SQL over all of it."""
