"""The page of types is made from the code, and stays what the code says."""

from migration_assets_tests.types_page import COMMAND, PAGE, page


def test_the_page_of_types_is_what_the_code_says() -> None:
    """Whoever changes a ladder, a form or a spelling writes the page anew."""
    assert PAGE.read_text("utf-8") == page(), f"run `{COMMAND}`"
