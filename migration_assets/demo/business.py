"""A made-up mail-order business in one SQLite file, so that the pipeline has a source to show.

Twelve tables hold what real SQLite files hold: composite, text and missing keys, WITHOUT ROWID,
JSON, BLOBs with overflow pages, NULLs, empty strings, 4-byte characters, and a few values that
never fitted their declared type. `life` then changes the file week by week.

Everything is a function of `seed` and `scale`. Settings and warehouses keep their size at every
scale, as they would in a growing business; all other tables grow linearly and are streamed.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Final

from migration_assets.demo import rows
from migration_assets.demo.rows import Row

FIRST_DAY: Final = date(2024, 1, 1)
"""The day the business opened: no date in the file is earlier, save the warehouses' opening."""

LAST_DAY: Final = date(2026, 1, 4)
"""The day up to which `create` tells the story; week n ends 7 * n days later."""

ROWS_PER_SCALE: Final = {
    "customers": 400,
    "products": 160,
    "orders": 2200,
    "stock_movements": 2100,
    "documents": 120,
    "audit_log": 700,
}
"""Rows at scale 1. Order lines, payments and tags follow from these; all is about 11,000 rows."""

_OPEN_ORDERS: Final = 40  # per scale: the newest orders, not yet shipped when the story starts
_BATCH: Final = 1000  # orders in memory at a time, with their lines and payments

SCHEMA: Final = """
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT,
    changed_at DATETIME NOT NULL
) WITHOUT ROWID;

CREATE TABLE warehouses (
    code TEXT NOT NULL PRIMARY KEY,
    name VARCHAR(60) NOT NULL,
    floor_area_m2 REAL NOT NULL,
    is_open BOOLEAN NOT NULL DEFAULT 1,
    opened_on DATE
);

CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    email VARCHAR(120) NOT NULL UNIQUE,
    name VARCHAR(80) NOT NULL,
    city TEXT,
    is_business BOOLEAN NOT NULL DEFAULT 0,
    credit_limit DECIMAL(10,2),
    preferences JSON,
    note TEXT,
    created_at DATETIME NOT NULL
);

CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    sku VARCHAR(20) NOT NULL UNIQUE,
    name VARCHAR(80) NOT NULL,
    ean BIGINT NOT NULL,
    price DECIMAL(10,2) NOT NULL,
    weight_kg REAL,
    shelf VARCHAR(12) NOT NULL UNIQUE,
    is_active BOOLEAN NOT NULL DEFAULT 1,
    attributes JSON,
    introduced_on DATE
);

CREATE TABLE product_tags (
    sku TEXT NOT NULL REFERENCES products (sku),
    tag TEXT NOT NULL,
    added_on DATE NOT NULL,
    PRIMARY KEY (sku, tag)
) WITHOUT ROWID;

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    order_no VARCHAR(20) NOT NULL UNIQUE,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    ordered_on DATE NOT NULL,
    shipped_at DATETIME,
    status VARCHAR(12) NOT NULL,
    total NUMERIC(12,2) NOT NULL,
    is_gift BOOLEAN NOT NULL DEFAULT 0,
    note TEXT
);
CREATE INDEX orders_customer_day ON orders (customer_id, ordered_on);

CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    line_no INTEGER NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL,
    unit_price DECIMAL(10,2) NOT NULL,
    discount REAL,
    remark TEXT,
    PRIMARY KEY (order_id, line_no)
);

CREATE TABLE payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    amount DECIMAL(10,2) NOT NULL,
    method VARCHAR(10) NOT NULL,
    paid_at TIMESTAMP NOT NULL,
    settled_on DATE,
    reference TEXT
);
CREATE INDEX payments_order ON payments (order_id);

CREATE TABLE stock_movements (
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id),
    warehouse_code TEXT NOT NULL REFERENCES warehouses (code),
    moved_at TIMESTAMP NOT NULL,
    quantity INTEGER NOT NULL,
    unit_cost NUMERIC(12,4),
    remark VARCHAR(80)
);
CREATE INDEX stock_movements_moved_at ON stock_movements (moved_at);

CREATE TABLE returns (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL,
    line_no INTEGER NOT NULL,
    received_on DATE NOT NULL,
    restocked BOOLEAN NOT NULL DEFAULT 0,
    reason TEXT,
    FOREIGN KEY (order_id, line_no) REFERENCES order_lines (order_id, line_no)
);
CREATE INDEX returns_line ON returns (order_id, line_no);

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER REFERENCES customers (id),
    title VARCHAR(120) NOT NULL,
    mime_type VARCHAR(40) NOT NULL,
    created_at DATETIME NOT NULL,
    content BLOB
);
CREATE INDEX documents_customer ON documents (customer_id);

CREATE TABLE audit_log (
    happened_at DATETIME NOT NULL,
    actor VARCHAR(40),
    action TEXT NOT NULL,
    details JSON,
    elapsed_ms REAL
);
"""

INSERTS: Final = {
    "settings": "INSERT INTO settings VALUES (?, ?, ?)",
    "warehouses": "INSERT INTO warehouses VALUES (?, ?, ?, ?, ?)",
    "customers": "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "products": "INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "product_tags": "INSERT INTO product_tags VALUES (?, ?, ?)",
    "orders": "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "order_lines": "INSERT INTO order_lines VALUES (?, ?, ?, ?, ?, ?, ?)",
    "payments": "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?)",
    "stock_movements": "INSERT INTO stock_movements VALUES (?, ?, ?, ?, ?, ?, ?)",
    "returns": "INSERT INTO returns VALUES (?, ?, ?, ?, ?, ?)",
    "documents": "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
    "audit_log": "INSERT INTO audit_log VALUES (?, ?, ?, ?, ?)",
}
"""One INSERT of a whole row for each table, parents before children."""

# Each touches one row per scale: below 0.1 % of a table of 2,000 rows and more, so that the
# declared types still stand. None of these orders is divisible by 20, so none is ever cancelled.
_MISFITS: Final = (
    "UPDATE orders SET ordered_on = 'soon' WHERE id % 2200 = 411",
    "UPDATE orders SET ordered_on = '2024-02-31' WHERE id % 2200 = 1503",
    "UPDATE order_lines SET quantity = 'a dozen' WHERE order_id % 2200 = 902 AND line_no = 1",
    """UPDATE order_lines SET remark = 'gift' || char(0) || 'wrapped'
       WHERE order_id % 2200 = 1204 AND line_no = 1""",
    "UPDATE payments SET amount = 'n/a' WHERE id % 2200 = 777",
    # 'Zahlung Müller' in Latin-1, as an old import wrote it: not UTF-8
    """UPDATE payments SET reference = CAST(x'5A61686C756E67204DFC6C6C6572' AS TEXT)
       WHERE id % 2200 = 1333""",
)

_SETTINGS: Final[tuple[tuple[str, str | None], ...]] = (
    ("backup.keep_days", "30"),
    ("company.name", "Müller & Søn Versand 📦"),
    ("company.vat_id", None),
    ("invoice.footer", ""),
    ("invoice.next_number", "20260001"),
    ("mail.sender", "shop@example.org"),
    ("orders.last_close", "2026-01-04"),
    ("shipping.carriers", '["post", "bike", "pickup"]'),
    ("shipping.free_above", "49.90"),
    ("stock.reorder_level", "5"),
    ("ui.language", "de"),
    ("ui.theme", "dark"),
)
# The pop-up shop comes last: it moves, takes a new code each time and sees few movements.
_WAREHOUSES: Final[tuple[Row, ...]] = (
    ("BER", "Berlin Mitte", 1250.5, 1, "2019-05-01"),
    ("MUC", "München Süd", 830.25, 1, "2020-09-15"),
    ("CPH", "København", 412.0, 1, "2021-03-01"),
    ("ZRH", "Zürich", 96.75, 0, None),
    ("POP-W00", "Pop-up 🏪", 18.5, 1, "2025-11-01"),
)


def create(path: Path, *, seed: int = 7, scale: int = 1) -> None:
    """Make a new SQLite file in WAL mode at `path` and fill it with the business.

    Raises FileExistsError when `path` exists. The rows arrive in one transaction before the
    switch to WAL: a new file's pages need no journal, whereas a WAL would hold them all twice.
    """
    path.open("xb").close()
    try:
        with closing(connect(path)) as connection:
            connection.executescript(SCHEMA)
            connection.execute("BEGIN")
            _fill(connection, Random(f"business {seed}"), scale)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        path.unlink()
        raise


def connect(path: Path) -> sqlite3.Connection:
    """Open `path` with enforced foreign keys; transactions begin and end where the caller says."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _days(count: int) -> Iterator[tuple[int, date]]:
    """Yield the numbers 1 to `count`, each with its day, spread over the whole story."""
    span = (LAST_DAY - FIRST_DAY).days - 2  # orders of the last day ship two days later
    for number in range(1, count + 1):
        yield number, FIRST_DAY + timedelta(days=number * span // count)


def _fill(connection: sqlite3.Connection, rng: Random, scale: int) -> None:
    count = {table: per_scale * scale for table, per_scale in ROWS_PER_SCALE.items()}
    products, customers = count["products"], count["customers"]
    codes = tuple(str(warehouse[0]) for warehouse in _WAREHOUSES)

    def insert(table: str, new: Iterable[Row]) -> None:
        connection.executemany(INSERTS[table], new)

    insert("settings", ((*setting, rows.moment(rng, FIRST_DAY)) for setting in _SETTINGS))
    insert("warehouses", _WAREHOUSES)
    insert("customers", (rows.customer(rng, n, day) for n, day in _days(customers)))
    insert("products", (rows.product(rng, n, day) for n, day in _days(products)))
    for n, day in _days(products):
        insert("product_tags", rows.tags_of_product(rng, n, day))
    for batch in _purchases(rng, scale):
        insert("orders", (made.order for made in batch))
        insert("order_lines", (line for made in batch for line in made.lines))
        insert("payments", (payment for made in batch for payment in made.payments))
    insert(
        "stock_movements",
        (
            rows.stock_movement(rng, n, products, codes, day)
            for n, day in _days(count["stock_movements"])
        ),
    )
    insert(
        "documents",
        (
            rows.document(rng, n, rng.randint(1, customers), day)
            for n, day in _days(count["documents"])
        ),
    )
    insert("audit_log", _audit_log(rng, count["audit_log"]))
    for statement in _MISFITS:
        connection.execute(statement)


def _purchases(rng: Random, scale: int) -> Iterator[list[rows.Purchase]]:
    """Yield all purchases in batches, for one of them goes into three tables.

    Every twentieth customer orders nothing yet, so that there is someone to delete.
    """
    count = ROWS_PER_SCALE["orders"] * scale
    payment_id, batch = 1, list[rows.Purchase]()
    for order_id, day in _days(count):
        buyer = rng.randint(1, ROWS_PER_SCALE["customers"] * scale)
        made = rows.purchase(
            rng,
            order_id=order_id,
            customer_id=buyer - 1 if buyer % 20 == 0 else buyer,
            products=ROWS_PER_SCALE["products"] * scale,
            payment_id=payment_id,
            day=day,
            shipped=order_id <= count - _OPEN_ORDERS * scale,
        )
        payment_id += len(made.payments)
        batch.append(made)
        if len(batch) == _BATCH or order_id == count:
            yield batch
            batch = []


def _audit_log(rng: Random, count: int) -> Iterator[Row]:
    """Yield `count` entries, every fiftieth an exact duplicate of the one before."""
    entry: Row = ()
    for number, day in _days(count):
        if number % 50:
            entry = rows.audit_entry(rng, day)
        yield entry
