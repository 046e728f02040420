"""The reference of the ledger is what a first run makes on a real target."""

from migration_assets import step
from migration_assets_tests import markdown
from migration_assets_tests.command import ROOT
from migration_assets_tests.fixtures_migration import MakeMigration, target_rows

PAGE = (ROOT / "docs" / "reference" / "ledger.md").read_text("utf-8")
COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'migration'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
  AND a.attnum > 0 AND NOT a.attisdropped
"""


def test_every_table_and_column_of_the_ledger_is_documented_and_no_other(
    make_migration: MakeMigration,
) -> None:
    """With its type."""
    migration = make_migration("CREATE TABLE note (id INTEGER PRIMARY KEY)")
    step.bootstrap(migration)
    shown = {
        (table.heading.strip("`"), row["column"].strip("`"), row["type"])
        for table in markdown.tables(PAGE)
        for row in table.rows
    }
    assert shown == set(target_rows(migration, COLUMNS))


def test_the_queries_of_the_page_run(make_migration: MakeMigration) -> None:
    """On a target that was only prepared they find nothing."""
    migration = make_migration("CREATE TABLE note (id INTEGER PRIMARY KEY)")
    step.bootstrap(migration)
    queries = [block.text for block in markdown.blocks(PAGE) if block.language == "sql"]
    assert queries
    for query in queries:
        assert target_rows(migration, query) == []
