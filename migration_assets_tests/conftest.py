"""The test suite's fixture plugins, one per concern, and what holds for every property test."""

from hypothesis import HealthCheck, settings

# How fast the machine is, and what else it does, is not what a property test is about.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

pytest_plugins = [
    "migration_assets_tests.fixtures_postgres",
    "migration_assets_tests.fixtures_sqlite",
    "migration_assets_tests.fixtures_migration",
    "migration_assets_tests.fixtures_faults",
    "migration_assets_tests.fixtures_ui",
    "migration_assets_tests.fixtures_documentation",
]
