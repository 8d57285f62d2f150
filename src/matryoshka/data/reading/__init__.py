"""Files of rows: JSON lines, CSV, TSV and Parquet, read and checked."""
