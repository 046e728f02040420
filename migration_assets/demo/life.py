"""The weeks after the story of `business.create`: everything a delta can consist of, on schedule.

| weeks           | what happens besides the usual inserts, updates and deletes         |
|-----------------|---------------------------------------------------------------------|
| every           | an order line is renumbered, a tag renamed, an audit entry repeated |
| 2, 4, 6, ...    | two products swap their UNIQUE shelves; documents change at all     |
| 1, 4, 7, ...    | a settings key is renamed                                           |
| 2, 5, 8, ...    | the pop-up shop's warehouse code changes, with its stock movements  |
| 3, 9, 15, ...   | an order's misfit date is mended, while there is one                |
| 5, 11, 17, ...  | a stock movement stops fitting; the one of six weeks ago is mended  |
| from 3          | returns, empty until then                                           |
| from 4          | refunds, the first negative payments                                |

Within a week no row is touched twice, so the counts are the difference between the two states.
"""

from contextlib import closing
from pathlib import Path
from typing import Final

from migration_assets.demo import rows
from migration_assets.demo.business import connect
from migration_assets.demo.week import HIGHEST_ID, Week

REFUND: Final = -19.90  # euros; one flat sum, since a demo looks for it


def live_one_week(
    path: Path, *, week: int, seed: int = 7, scale: int = 1
) -> dict[str, dict[str, int]]:
    """Apply week number `week` (1, 2, ...) to the file at `path` in one transaction.

    Returns for every table how many rows were inserted, updated, deleted and rekeyed, that is
    given another key. Swapped shelves are updates: `shelf` is unique but no table's key.
    Raises FileNotFoundError when there is no such file, ValueError for a week before the first,
    sqlite3.IntegrityError, with the file unchanged, for a week the file has lived already.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no business at {path}; make one with business.create")
    if week < 1:
        raise ValueError(f"week is {week}, expected 1 or later")
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        this = Week.of(connection, number=week, seed=seed, scale=scale)
        for part in _PARTS:
            part(this)
        connection.execute("COMMIT")  # closing without it rolls back
    return this.counts


def _cancelled_orders(week: Week) -> None:
    """Delete the oldest cancelled orders; they have no payments and no returns, only lines."""
    oldest = "SELECT id FROM orders WHERE status = 'cancelled' ORDER BY id LIMIT ?"
    ids = week.connection.execute(oldest, (3 * week.scale,)).fetchall()
    week.change("order_lines", "deleted", "DELETE FROM order_lines WHERE order_id = ?", ids)
    week.change("orders", "deleted", "DELETE FROM orders WHERE id = ?", ids)


def _customers(week: Week) -> None:
    week.change(
        "customers",
        "deleted",
        """DELETE FROM customers WHERE id IN (
               SELECT id FROM customers AS customer
               WHERE NOT EXISTS (SELECT 1 FROM orders WHERE customer_id = customer.id)
               AND NOT EXISTS (SELECT 1 FROM documents WHERE customer_id = customer.id)
               ORDER BY id LIMIT ?)""",
        [(week.scale,)],
    )
    week.change(
        "customers",
        "updated",
        """UPDATE customers SET note = ?, credit_limit = round(coalesce(credit_limit, 0) + 50, 2)
           WHERE id = ?""",
        [(f"called in week {week.number} ☎️", n) for n in week.sample("customers", 8)],
    )
    week.insert(
        "customers",
        (rows.customer(week.rng, n, week.any_day()) for n in week.new_ids("customers", 6)),
    )


def _products(week: Week) -> None:
    chosen = week.sample("products", 7)
    dearer, moved = chosen[2 * week.scale :], chosen[: 2 * week.scale]
    week.change(
        "products",
        "updated",
        "UPDATE products SET price = round(price * 1.03, 2) WHERE id = ?",
        ((n,) for n in dearer),
    )
    if week.number % 2 == 0:
        for one, other in zip(moved[::2], moved[1::2], strict=False):
            _swap_shelves(week, one, other)
    for n in week.new_ids("products", 2):
        week.insert("products", [rows.product(week.rng, n, week.last_day)])
        week.insert("product_tags", rows.tags_of_product(week.rng, n, week.last_day))


def _swap_shelves(week: Week, one: int, other: int) -> None:
    """Swap by way of a third value: SQLite checks UNIQUE row by row, not at the end."""
    shelf = "SELECT shelf FROM products WHERE id = ?"
    first, second = (week.connection.execute(shelf, (n,)).fetchone()[0] for n in (one, other))
    week.connection.execute("UPDATE products SET shelf = 'in transit' WHERE id = ?", (one,))
    week.change(
        "products",
        "updated",
        "UPDATE products SET shelf = ? WHERE id = ?",
        [(first, other), (second, one)],
    )


def _product_tags(week: Week) -> None:
    chosen = [rows.sku(n) for n in week.sample("products", 4)]
    week.change(
        "product_tags",
        "deleted",
        """DELETE FROM product_tags WHERE sku = ?1
           AND tag = (SELECT min(tag) FROM product_tags WHERE sku = ?1)""",
        ((sku,) for sku in chosen[: week.scale]),
    )
    week.change(
        "product_tags",
        "rekeyed",
        """UPDATE product_tags SET tag = ?2 WHERE sku = ?1
           AND tag = (SELECT max(tag) FROM product_tags WHERE sku = ?1)""",
        ((sku, f"week-{week.number}-🌱") for sku in chosen[week.scale : 2 * week.scale]),
    )
    week.change(
        "product_tags",
        "updated",
        """UPDATE product_tags SET added_on = ?2 WHERE sku = ?1
           AND tag = (SELECT min(tag) FROM product_tags WHERE sku = ?1)""",
        ((sku, week.last_day.isoformat()) for sku in chosen[2 * week.scale :]),
    )


def _warehouses(week: Week) -> None:
    if week.number % 3 == 2:
        old = week.connection.execute("SELECT code FROM warehouses WHERE code LIKE 'POP-%'")
        codes = [(f"POP-W{week.number:02}", old.fetchone()[0])]
        week.connection.execute("PRAGMA defer_foreign_keys = ON")  # the parent's code goes first
        week.change("warehouses", "rekeyed", "UPDATE warehouses SET code = ? WHERE code = ?", codes)
        week.change(
            "stock_movements",
            "updated",
            "UPDATE stock_movements SET warehouse_code = ? WHERE warehouse_code = ?",
            codes,
        )
    if week.number % 4 == 0:
        bigger = "UPDATE warehouses SET floor_area_m2 = floor_area_m2 + 10.5 WHERE code = 'BER'"
        week.change("warehouses", "updated", bigger)
    if week.number % 6 == 0:
        code, opened_on = f"EXT-W{week.number:02}", week.last_day.isoformat()
        week.insert("warehouses", [(code, "Außenlager", 75.0, 1, opened_on)])


def _orders(week: Week) -> None:
    if week.number % 6 == 3:
        week.change(
            "orders",
            "updated",
            """UPDATE orders SET ordered_on = coalesce(substr(shipped_at, 1, 10), ?)
               WHERE ordered_on = 'soon'""",
            [(week.last_day.isoformat(),)],
        )
    week.change(
        "orders",
        "updated",
        """UPDATE orders SET status = 'shipped', shipped_at = ? WHERE id IN (
               SELECT id FROM orders
               WHERE status = 'open' AND ordered_on <> 'soon' ORDER BY id LIMIT ?)""",
        [(rows.moment(week.rng, week.last_day), 25 * week.scale)],
    )
    buyers = week.sample("customers", 20)
    payment_id, products = week.highest["payments"] + 1, week.new_ids("products", 2)[-1]
    for order_id in week.new_ids("orders", 30):
        made = rows.purchase(
            week.rng,
            order_id=order_id,
            customer_id=week.rng.choice(buyers),
            products=products,
            payment_id=payment_id,
            day=week.any_day(),
            shipped=False,
        )
        payment_id += len(made.payments)
        week.insert("orders", [made.order])
        week.insert("order_lines", made.lines)
        week.insert("payments", made.payments)


def _order_lines(week: Week) -> None:
    chosen = week.sample("orders", 6)
    week.change(
        "order_lines",
        "updated",
        """UPDATE order_lines SET discount = coalesce(discount, 0) + 0.01 WHERE order_id = ?1
           AND line_no = (SELECT min(line_no) FROM order_lines WHERE order_id = ?1)""",
        ((n,) for n in chosen[2 * week.scale :]),
    )
    week.change(
        "order_lines",
        "rekeyed",
        """UPDATE order_lines
           SET line_no = 1 + (SELECT max(line_no) FROM order_lines WHERE order_id = ?1)
           WHERE order_id = ?1
           AND line_no = (SELECT min(line_no) FROM order_lines WHERE order_id = ?1)
           AND NOT EXISTS (SELECT 1 FROM returns WHERE order_id = ?1)""",
        ((n,) for n in chosen[: 2 * week.scale]),
    )


def _payments(week: Week) -> None:
    chosen = week.sample("payments", 5)
    week.change(
        "payments",
        "deleted",
        "DELETE FROM payments WHERE id = ?",
        ((n,) for n in chosen[: week.scale]),
    )
    week.change(
        "payments",
        "updated",
        "UPDATE payments SET settled_on = ? WHERE id = ?",
        ((week.last_day.isoformat(), n) for n in chosen[week.scale :]),
    )
    if week.number >= 4:
        last = week.connection.execute(HIGHEST_ID["payments"]).fetchone()[0]
        refunded = enumerate(week.sample("orders", 1), last + 1)
        week.insert(
            "payments",
            [rows.payment(week.rng, n, order, REFUND, week.last_day) for n, order in refunded],
        )


def _stock_movements(week: Week) -> None:
    chosen = week.sample("stock_movements", 8)
    odd, gone, recounted = (
        chosen[: week.scale],
        chosen[week.scale : 3 * week.scale],
        chosen[3 * week.scale :],
    )
    if week.number % 6 == 5:
        _misfit_moves_on(week, odd)
    week.change(
        "stock_movements",
        "deleted",
        "DELETE FROM stock_movements WHERE id = ?",
        ((n,) for n in gone),
    )
    week.change(
        "stock_movements",
        "updated",
        "UPDATE stock_movements SET remark = ? WHERE id = ?",
        ((f"recounted in week {week.number}", n) for n in recounted),
    )
    codes = week.connection.execute("SELECT code FROM warehouses ORDER BY rowid").fetchall()
    warehouses, products = tuple(code for (code,) in codes), week.new_ids("products", 2)[-1]
    week.insert(
        "stock_movements",
        (
            rows.stock_movement(week.rng, n, products, warehouses, week.any_day())
            for n in week.new_ids("stock_movements", 35)
        ),
    )


def _misfit_moves_on(week: Week, odd: list[int]) -> None:
    """Mend the misfits of six weeks ago before new ones come: there are never more than few."""
    week.change(
        "stock_movements",
        "updated",
        "UPDATE stock_movements SET moved_at = ? WHERE moved_at = 'about noon'",
        [(f"{week.last_day.isoformat()} 12:00:00",)],
    )
    week.change(
        "stock_movements",
        "updated",
        "UPDATE stock_movements SET moved_at = 'about noon' WHERE id = ?",
        ((n,) for n in odd),
    )


def _returns(week: Week) -> None:
    if week.number < 3:
        return
    chosen = week.sample("returns", 3)
    week.change(
        "returns",
        "deleted",
        "DELETE FROM returns WHERE id = ?",
        ((n,) for n in chosen[: week.scale]),
    )
    week.change(
        "returns",
        "updated",
        "UPDATE returns SET restocked = 1 - restocked WHERE id = ?",
        ((n,) for n in chosen[week.scale :]),
    )
    day, orders = week.last_day.isoformat(), week.sample("orders", 4)
    week.change(
        "returns",
        "inserted",
        """INSERT INTO returns SELECT ?, order_id, min(line_no), ?, 0, ? FROM order_lines
           WHERE order_id = ? GROUP BY order_id""",
        (
            (n, day, week.rng.choice((None, "", "zu groß", "💔")), order)
            for n, order in zip(week.new_ids("returns", 4), orders, strict=False)
        ),
    )


def _documents(week: Week) -> None:
    if week.number % 2 == 1:
        return
    chosen = week.sample("documents", 3)
    gone, grown, renamed = (chosen[n * week.scale : (n + 1) * week.scale] for n in range(3))
    week.change("documents", "deleted", "DELETE FROM documents WHERE id = ?", ((n,) for n in gone))
    week.change(
        "documents",
        "updated",
        "UPDATE documents SET content = ? WHERE id = ?",
        ((rows.content(week.rng, large=True), n) for n in grown),
    )
    week.change(
        "documents",
        "updated",
        "UPDATE documents SET title = ? WHERE id = ?",
        ((f"Gutschrift {n}/{week.number}", n) for n in renamed),
    )
    owners = zip(week.new_ids("documents", 3), week.sample("customers", 3), strict=False)
    week.insert("documents", (rows.document(week.rng, n, who, week.any_day()) for n, who in owners))


def _audit_log(week: Week) -> None:
    """Remove one of two equal entries and repeat others, never the same: it would cancel out."""
    twins = week.connection.execute(
        """SELECT min(rowid), max(rowid) FROM audit_log
           GROUP BY happened_at, actor, action, details, elapsed_ms
           HAVING count(*) = 2 ORDER BY 1 LIMIT ?""",
        (week.scale,),
    ).fetchall()
    spared = {n for pair in twins for n in pair}
    repeated = [n for n in week.sample("audit_log", 3) if n not in spared][: 2 * week.scale]
    week.change(
        "audit_log",
        "deleted",
        "DELETE FROM audit_log WHERE rowid = ?",
        ((n,) for n, _ in twins),
    )
    week.insert(
        "audit_log", (rows.audit_entry(week.rng, week.any_day()) for _ in range(20 * week.scale))
    )
    week.change(
        "audit_log",
        "inserted",
        "INSERT INTO audit_log SELECT * FROM audit_log WHERE rowid = ?",
        ((n,) for n in repeated),
    )


def _settings(week: Week) -> None:
    now = rows.moment(week.rng, week.last_day)
    week.insert("settings", [(f"report.week_{week.number:03}", "✓", now)])
    week.change(
        "settings",
        "deleted",
        "DELETE FROM settings WHERE name = ?",
        [(f"report.week_{week.number - 8:03}",)],
    )
    week.change(
        "settings",
        "updated",
        "UPDATE settings SET value = ?, changed_at = ? WHERE name = 'orders.last_close'",
        [(week.last_day.isoformat(), now)],
    )
    if week.number % 3 == 1:
        week.change(
            "settings",
            "rekeyed",
            """UPDATE settings
               SET name = CASE name WHEN 'ui.theme' THEN 'display.theme' ELSE 'ui.theme' END
               WHERE name IN ('ui.theme', 'display.theme')""",
        )


# Parents before children where rows arrive, children before parents where they leave.
_PARTS: Final = (
    _cancelled_orders,
    _customers,
    _products,
    _product_tags,
    _warehouses,
    _orders,
    _order_lines,
    _payments,
    _stock_movements,
    _returns,
    _documents,
    _audit_log,
    _settings,
)
