"""One maker for each kind of row of the made-up business, shared by its creation and its life.

Every maker draws from the given generator only: the same draws in the same order give the same
rows. No value here misses its declared type; the misfits are planted by `business` and `life`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

Value = str | int | float | bytes | None
Row = tuple[Value, ...]

_WAREHOUSE_WEIGHTS: Final = (50, 30, 14, 5, 1)  # of the oldest five; later ones weigh 1 each
_FIRST_NAMES: Final = ("Jürgen", "Zoë", "Søren", "Łucja", "Anna", "José", "Nguyễn", "Bob", "𠮷野")
_LAST_NAMES: Final = ("Müller", "Groß", "Ångström", "O'Neil", "Smith", "Žižek", "de la Cruz", "李")
_CITIES: Final = ("Köln", "Århus", "Zürich", "Łódź", "Reykjavík", "Graz", "", None)
_NOTES: Final = (None, None, "", "calls on Mondays", "VIP ⭐", 'says "hi"\nand more', "🎉👩‍🚀")
_THINGS: Final = ("Tea pot", "Kaffeemühle", "Crème brûlée set", "Lamp 💡", "Bücherstütze", "Mug")
_TAGS: Final = ("bestseller", "für-küche", "gift 🎁", "new", "outlet", "vegan")
_MIME_TYPES: Final = ("application/pdf", "image/png", "text/plain")
_METHODS: Final = ("card", "transfer", "cash")
_LINES_OF_ORDER: Final = (1, 1, 2, 1, 1, 2, 1, 1, 1, 2)  # by the order id's last digit


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """An order with its lines and payments, made together so that the amounts agree."""

    order: Row
    lines: tuple[Row, ...]
    payments: tuple[Row, ...]


def customer(rng: Random, customer_id: int, day: date) -> Row:
    """Return a row of customers who joined on `day`; the id keeps the email unique."""
    preferences = {"newsletter": rng.random() < 0.5, "size": rng.choice(["S", "M", "Größe L"])}
    return (
        customer_id,
        f"customer.{customer_id}@example.org",
        f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}",
        rng.choice(_CITIES),
        int(rng.random() < 0.2),
        rng.choice((None, 0, 250, 1000.5, 4999.99)),
        json.dumps(preferences, ensure_ascii=False) if rng.random() < 0.8 else None,
        rng.choice(_NOTES),
        moment(rng, day),
    )


def product(rng: Random, product_id: int, day: date) -> Row:
    """Return a row of products introduced on `day`, on a shelf of its own."""
    attributes = {"colour": rng.choice(["grün", "weiß", "red"]), "set": [rng.randint(1, 9), None]}
    return (
        product_id,
        sku(product_id),
        f"{rng.choice(_THINGS)} {product_id}",
        4_000_000_000_000 + rng.randrange(10**12),
        list_price(product_id),
        rng.choice((None, round(rng.uniform(0.05, 30), 3))),
        f"S-{product_id:06}",
        int(rng.random() < 0.9),
        json.dumps(attributes, ensure_ascii=False),
        day.isoformat() if rng.random() < 0.9 else None,
    )


def sku(product_id: int) -> str:
    """Return the stock-keeping unit of a product."""
    return f"P-{product_id:07}"


def list_price(product_id: int) -> float:
    """Return the price a product starts with, in euros: 0.95 to 90.94, no look-up needed."""
    return (product_id * 3769 % 9000 + 95) / 100


def tags_of_product(rng: Random, product_id: int, day: date) -> Iterator[Row]:
    """Yield the two rows of product_tags a new product gets."""
    for tag in rng.sample(_TAGS, 2):
        yield sku(product_id), tag, day.isoformat()


def purchase(
    rng: Random,
    *,
    order_id: int,
    customer_id: int,
    products: int,
    payment_id: int,
    day: date,
    shipped: bool,
) -> Purchase:
    """Return an order of `day` for some of the products 1 to `products`.

    Every twentieth order is cancelled and never paid, as many are paid in two instalments:
    there are as many payments as orders, numbered from `payment_id`.
    """
    cancelled = order_id % 20 == 0
    lines = tuple(
        _line(rng, order_id, line_no, rng.randint(1, products))
        for line_no in range(1, 1 + _LINES_OF_ORDER[order_id % 10])
    )
    total = round(sum(quantity * price for _, _, _, quantity, price, *_ in lines), 2)
    instalments = (round(total / 2, 2), total - round(total / 2, 2))
    amounts = () if cancelled else instalments if order_id % 20 == 10 else (total,)
    status = "cancelled" if cancelled else "shipped" if shipped else "open"
    return Purchase(
        order=(
            order_id,
            f"A{order_id:09}",
            customer_id,
            day.isoformat(),
            moment(rng, day + timedelta(days=2)) if status == "shipped" else None,
            status,
            total,
            int(rng.random() < 0.1),
            rng.choice(_NOTES),
        ),
        lines=lines,
        payments=tuple(
            payment(rng, payment_id + n, order_id, amount, day) for n, amount in enumerate(amounts)
        ),
    )


def payment(rng: Random, payment_id: int, order_id: int, amount: float, day: date) -> Row:
    """Return a row of payments over `amount` euros; a refund is negative."""
    return (
        payment_id,
        order_id,
        round(amount, 2),
        rng.choice(_METHODS),
        moment(rng, day),
        day.isoformat() if rng.random() < 0.6 else None,
        rng.choice((None, "", f"Zahlung für A{order_id:09}")),
    )


def stock_movement(
    rng: Random, movement_id: int, products: int, warehouses: tuple[str, ...], day: date
) -> Row:
    """Return a row of stock_movements; few of them go to the last of the five oldest warehouses."""
    weights = _WAREHOUSE_WEIGHTS + (1,) * (len(warehouses) - len(_WAREHOUSE_WEIGHTS))
    return (
        movement_id,
        rng.randint(1, products),
        rng.choices(warehouses, weights)[0],
        moment(rng, day),
        rng.choice((-3, -2, -1, 1, 10, 50)),
        rng.choice((None, round(rng.uniform(0.1, 60), 4))),
        rng.choice((None, "", "Inventur", "Bruch 💥")),
    )


def document(rng: Random, document_id: int, customer_id: int, day: date) -> Row:
    """Return a row of documents; every twentieth fills a chain of overflow pages."""
    return (
        document_id,
        customer_id if rng.random() < 0.9 else None,
        f"Rechnung №{document_id} · {rng.choice(_LAST_NAMES)}",
        rng.choice(_MIME_TYPES),
        moment(rng, day),
        content(rng, large=document_id % 20 == 0),
    )


def content(rng: Random, *, large: bool) -> bytes | None:
    """Return a document's bytes: 20 to 60 kB when large, else up to 2 kB, empty or none at all."""
    if large:
        return rng.randbytes(rng.randint(20_000, 60_000))
    return rng.choice((None, b"", *(rng.randbytes(rng.randint(1, 2_000)) for _ in range(4))))


def audit_entry(rng: Random, day: date) -> Row:
    """Return a row of audit_log, which has no key."""
    details = {"ip": f"10.0.{rng.randrange(256)}.{rng.randrange(256)}", "ok": rng.random() < 0.95}
    return (
        moment(rng, day),
        rng.choice(("anna", "søren", "batch", None)),
        rng.choice(("login", "logout", "export", "price change")),
        json.dumps(details) if rng.random() < 0.7 else None,
        rng.choice((None, round(rng.expovariate(0.02), 3))),
    )


def _line(
    rng: Random, order_id: int, line_no: int, product_id: int
) -> tuple[int, int, int, int, float, float | None, str | None]:
    return (
        order_id,
        line_no,
        product_id,
        rng.randint(1, 5),
        list_price(product_id),
        rng.choice((None, 0.0, 0.05, 0.125)),
        rng.choice((None, None, "", "zerbrechlich", "🎀")),
    )


def moment(rng: Random, day: date) -> str:
    """Return a second of `day` as 'YYYY-MM-DD HH:MM:SS'."""
    second = rng.randrange(86_400)
    return f"{day.isoformat()} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
