"""A small business on SQLite, and the embedded PostgreSQL it is carried to."""
