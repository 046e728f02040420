"""Transforms for the tests, good ones and bad ones, each called as `module:function`."""

import polars as pl

A_CONSTANT = "no function"


def same(frame: pl.DataFrame) -> pl.DataFrame:
    """Change nothing."""
    return frame


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Change values and types: text to a number, a number to text, seconds to a moment."""
    return frame.with_columns(
        pl.col("price").str.replace(",", ".").cast(pl.Decimal(12, 2)),
        pl.col("n").cast(pl.String).str.zfill(3),
        pl.from_epoch("at", time_unit="s").cast(pl.Datetime("us")),
    )


def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    """Change values, and no type."""
    return frame.with_columns(pl.col("n") * 2)


def other_order_of_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns in another order, which is the same frame."""
    return frame.select(reversed(frame.columns))


def fewer_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Lose a row."""
    return frame.head(-1)


def changed_key(frame: pl.DataFrame) -> pl.DataFrame:
    """Change the key."""
    return frame.with_columns(pl.col("id") + 1)


def turned_around(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in another order."""
    return frame.reverse()


def missing_column(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave a column out, and add another."""
    return frame.drop("n").with_columns(total=1)


def no_frame(frame: pl.DataFrame) -> object:
    """Return the columns instead of the frame."""
    return frame.to_dict()


def no_type(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a type that PostgreSQL doesn't have."""
    return frame.with_columns(pl.col("n").cast(pl.UInt64))


def raising(frame: pl.DataFrame) -> pl.DataFrame:
    """Raise with a row's value in the text."""
    message = f"can't handle {frame.rows()}"
    raise RuntimeError(message)


def type_by_value(frame: pl.DataFrame) -> pl.DataFrame:
    """Return another type where a value is large."""
    large = bool((frame["n"] > 100).any())
    return frame.with_columns(pl.col("n").cast(pl.String) if large else pl.col("n"))


def odd_values(frame: pl.DataFrame) -> pl.DataFrame:
    """Make what PostgreSQL can't hold, or what the key and its own NULLs forbid, by row."""
    return frame.with_columns(
        pl.when(pl.col("n") == 1).then(pl.lit("a\0b")).otherwise(pl.col("price")).alias("price"),
        pl.when(pl.col("n") == 2).then(float("nan")).otherwise(pl.col("n") / 2).alias("n"),
    )


def no_number(frame: pl.DataFrame) -> pl.DataFrame:
    """Put a word where text means a number."""
    return frame.with_columns(price=pl.lit("secret"))


def batch_total(frame: pl.DataFrame) -> pl.DataFrame:
    """Depend on the other rows of the batch."""
    return frame.with_columns(pl.col("n").sum())


def upper(frame: pl.DataFrame) -> pl.DataFrame:
    """Change text alone."""
    return frame.with_columns(pl.col("price").str.to_uppercase())
