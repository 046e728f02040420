"""What is written to PostgreSQL: connection, ledger, quarantine, the one step."""
