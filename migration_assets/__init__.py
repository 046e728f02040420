"""SQLite to Aurora PostgreSQL, weekly, incrementally, provably equal."""
