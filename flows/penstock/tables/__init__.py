"""Arrow and Parquet: parts that are whole or absent, the answer journal, and checks on them."""
