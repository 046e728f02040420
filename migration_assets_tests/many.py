"""A source of many tables of mixed shapes, as applications grow them over the years."""

_SHAPES = (
    # a plain table
    (
        "CREATE TABLE {t} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL, born DATE);",
        "INSERT INTO {t} VALUES (1, 'a', 1.5, '2020-01-01'), (2, 'b', NULL, NULL);",
        "UPDATE {t} SET amount = 2.5 WHERE id = 2; INSERT INTO {t} VALUES (3, 'c', -0.0, NULL);",
    ),
    # a key of two columns, without a rowid
    (
        """CREATE TABLE {t} (a TEXT, b INTEGER, price DECIMAL(10,2), PRIMARY KEY (a, b))
        WITHOUT ROWID; CREATE INDEX price_{i} ON {t} (price);""",
        "INSERT INTO {t} VALUES ('x', 1, 19.9), ('x', 2, 5), ('y', 1, NULL);",
        "DELETE FROM {t} WHERE b = 2; UPDATE {t} SET price = 7 WHERE a = 'y';",
    ),
    # no key, with copies
    (
        "CREATE TABLE {t} (page TEXT, at DATETIME);",
        "INSERT INTO {t} VALUES ('/', '2026-01-02 03:04:05'), ('/', '2026-01-02 03:04:05');",
        "INSERT INTO {t} VALUES ('/', '2026-01-02 03:04:05'), (NULL, NULL);",
    ),
    # a unique column whose values swap
    (
        "CREATE TABLE {t} (id INTEGER PRIMARY KEY, rank INTEGER UNIQUE, note TEXT COLLATE NOCASE);",
        "INSERT INTO {t} VALUES (1, 10, 'one'), (2, 20, 'two');",
        """UPDATE {t} SET rank = -1 WHERE id = 1; UPDATE {t} SET rank = 10 WHERE id = 2;
        UPDATE {t} SET rank = 20 WHERE id = 1;""",
    ),
    # bytes and flags, quiet in the second week
    (
        "CREATE TABLE {t} (id INTEGER PRIMARY KEY, body BLOB, seen BOOLEAN, extra);",
        "INSERT INTO {t} VALUES (1, x'00ff', 1, 1), (2, NULL, 0, 'two'), (3, x'', NULL, 2.5);",
        "",
    ),
    # empty at first
    (
        "CREATE TABLE {t} (id INTEGER PRIMARY KEY, v TEXT);",
        "",
        "INSERT INTO {t} VALUES (1, 'late');",
    ),
)


def names(count: int) -> list[str]:
    """Return the tables' names; some need quotes."""
    return [f"t{i:04}" if i % 10 else f"Table {i:04}" for i in range(count)]


def first_week(count: int) -> str:
    """Return the script that makes the tables and fills them."""
    return _script(count, 0) + _script(count, 1)


def second_week(count: int) -> str:
    """Return the script of the changes."""
    return _script(count, 2)


def _script(count: int, part: int) -> str:
    parts = [
        _SHAPES[i % len(_SHAPES)][part].format(t=f'"{name}"', i=i)
        for i, name in enumerate(names(count))
    ]
    return "BEGIN;" + "\n".join(parts) + "COMMIT;"
