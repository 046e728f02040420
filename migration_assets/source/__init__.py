"""What is read from SQLite: catalog, cuts, rows, deltas."""
