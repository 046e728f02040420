"""How SQLite values and names become PostgreSQL ones; pure, no I/O."""
