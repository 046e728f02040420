"""The test suite's fixture plugins, one per concern."""

pytest_plugins = [
    "migration_assets_tests.fixtures_postgres",
    "migration_assets_tests.fixtures_sqlite",
    "migration_assets_tests.fixtures_migration",
    "migration_assets_tests.fixtures_ui",
    "migration_assets_tests.fixtures_documentation",
]
