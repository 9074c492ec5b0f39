"""A day of trade at Nakheel Trading: what is sold, bought, moved, paid and posted."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import product
from typing import Any

from psycopg import Connection

from web.demo.chance import favourite
from web.demo.days import SATURDAY_SUNDAY
from web.demo.tables import Row

VAT_PERCENT = 5
OPENING_MONEY = 800_000_000  # fils
RECEIVABLES, BANK, CASH, STOCK = "1300", "1200", "1100", "1400"
INPUT_VAT, PAYABLES, OUTPUT_VAT, CAPITAL, SALES = "1500", "2100", "2200", "3100", "4100"
NOTES = (
    "يرجى التسليم قبل صلاة الظهر",
    "التسليم من الباب الخلفي للمستودع",
    "Deliver to the second floor, call on arrival",
    "سيتم الدفع عند الاستلام",
    "Customer collects from the shop",
    "الرجاء إرفاق شهادة المنشأ",
)

Line = tuple[int, int, int]  # product, quantity, amount of one in fils
Leg = tuple[str, int, int]  # account, debit, credit


@dataclass(frozen=True)
class World:
    """Those who trade, as the database has them; each list in the order of its ids."""

    customers: Sequence[Row]  # id, branch, days of credit
    suppliers: Sequence[Row]  # id, days of credit
    products: Sequence[Row]  # id, cost, price
    sellers: Sequence[Sequence[int]]  # by branch less one: ids of employees


@dataclass
class Numbers:
    """The last id given in each table."""

    invoice: int = 0
    bill: int = 0
    payment: int = 0
    move: int = 0
    entry: int = 0


@dataclass
class Daybook:
    """The rows that trade makes, and what was promised to be paid later."""

    world: World
    chance: random.Random
    until: date  # promises after this day are still open
    numbers: Numbers = field(default_factory=Numbers)
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    promises: dict[date, list[Row]] = field(default_factory=lambda: defaultdict(list))


def read_world(connection: Connection[Any]) -> World:
    def rows(query: bytes) -> list[Row]:
        return list(connection.execute(query).fetchall())

    sellers = rows(b"SELECT array_agg(id ORDER BY id) FROM employees GROUP BY branch_id ORDER BY 1")
    return World(
        customers=rows(b"SELECT id, branch_id, payment_days FROM customers ORDER BY id"),
        suppliers=rows(b"SELECT id, payment_days FROM suppliers ORDER BY id"),
        products=rows(b"SELECT id, cost, price FROM products WHERE active ORDER BY id"),
        sellers=[ids for (ids,) in sellers],
    )


def open_books(book: Daybook, day: date) -> None:
    """The capital the company begins with: money, and goods in every warehouse."""
    value = 0
    for (item, cost, _), warehouse in product(
        book.world.products, range(1, 1 + len(book.world.sellers))
    ):
        quantity = book.chance.randint(40, 240)
        value += cost * quantity
        _move(book, day, (item, warehouse, None, None, quantity))
    legs = [(BANK, OPENING_MONEY, 0), (STOCK, value, 0), (CAPITAL, 0, OPENING_MONEY + value)]
    _post(book, day, ("opening", "رأس المال - Share capital"), legs)


def trade(book: Daybook, day: date) -> None:
    busy = 0.2 if day.weekday() in SATURDAY_SUNDAY else 1.0
    for _ in range(int(busy * book.chance.randint(26, 43))):
        _sell(book, day)
    for _ in range(int(busy * book.chance.randint(4, 10))):
        _buy(book, day)
    for invoice, bill, amount in book.promises.pop(day, ()):
        settle(book, day, invoice=invoice, bill=bill, amount=amount)


def settle(
    book: Daybook, day: date, *, amount: int, invoice: int | None = None, bill: int | None = None
) -> None:
    """A customer pays an invoice, or we pay a bill."""
    book.numbers.payment += 1
    methods = ("transfer", "cheque") if invoice is None else ("cash", "card", "transfer", "cheque")
    method = book.chance.choice(methods)
    row = (book.numbers.payment, invoice, bill, day, method, amount)
    book.rows["payments"].append(row)
    money = CASH if method == "cash" else BANK
    if invoice is not None:
        legs = [(money, amount, 0), (RECEIVABLES, 0, amount)]
        _post(book, day, ("receipt", f"Receipt for INV-{invoice:06d}"), legs)
    else:
        legs = [(PAYABLES, amount, 0), (money, 0, amount)]
        _post(book, day, ("payment", f"سداد فاتورة مشتريات رقم {bill}"), legs)


def _sell(book: Daybook, day: date) -> None:
    chance = book.chance
    book.numbers.invoice = number = book.numbers.invoice + 1
    customer, branch, credit = favourite(chance, book.world.customers)
    lines = _lines(book, largest=24, price=2)
    net = sum(quantity * amount for _, quantity, amount in lines)
    vat, gross = _with_vat(net)
    paid = _promise(book, day, credit, (number, None, gross))
    note = chance.choice(NOTES) if chance.random() < 0.15 else None
    seller = chance.choice(book.world.sellers[branch - 1])
    book.rows["sales_invoices"].append(
        (
            *(number, f"INV-{number:06d}", customer, branch, seller),
            *(day, day + timedelta(days=credit), net, vat, gross, paid, note),
        )
    )
    for place, (item, quantity, amount) in enumerate(lines, start=1):
        book.rows["sales_invoice_lines"].append((number, place, item, quantity, amount))
        _move(book, day, (item, branch, number, None, -quantity))
    legs = [(RECEIVABLES, gross, 0), (SALES, 0, net), (OUTPUT_VAT, 0, vat)]
    _post(book, day, ("sale", f"INV-{number:06d}"), legs)


def _buy(book: Daybook, day: date) -> None:
    chance = book.chance
    book.numbers.bill = number = book.numbers.bill + 1
    supplier, credit = favourite(chance, book.world.suppliers)
    warehouse = chance.randint(1, len(book.world.sellers))
    lines = _lines(book, largest=140, price=1)
    net = sum(quantity * amount for _, quantity, amount in lines)
    vat, gross = _with_vat(net)
    paid = _promise(book, day, credit, (None, number, gross))
    reference = f"S{supplier:03d}/{chance.randrange(10**5):05d}"
    due = day + timedelta(days=credit)
    row = (number, supplier, warehouse, reference, day, due, net, vat, gross, paid)
    book.rows["purchase_bills"].append(row)
    for place, (item, quantity, amount) in enumerate(lines, start=1):
        book.rows["purchase_bill_lines"].append((number, place, item, quantity, amount))
        _move(book, day, (item, warehouse, None, number, quantity))
    legs = [(STOCK, net, 0), (INPUT_VAT, vat, 0), (PAYABLES, 0, gross)]
    _post(book, day, ("purchase", f"Goods from supplier {supplier}"), legs)


def _lines(book: Daybook, *, largest: int, price: int) -> list[Line]:
    """One to five different products; `price` is the column of a product's row to take."""
    chance = book.chance
    products = {favourite(chance, book.world.products) for _ in range(chance.randint(1, 5))}
    chosen = sorted(products, key=lambda row: int(row[0]))
    return [(row[0], 1 + int(largest * chance.random()), row[price]) for row in chosen]


def _with_vat(net: int) -> tuple[int, int]:
    """VAT, rounded to the nearest fils, and the gross amount."""
    vat = (net * VAT_PERCENT + 50) // 100
    return vat, net + vat


def _promise(book: Daybook, day: date, credit: int, what: Row) -> str:
    """Note when it will be paid; the status the invoice has at the end of the book."""
    paid_on = day + timedelta(days=credit + book.chance.randint(0, 20))
    if paid_on > book.until:
        return "open"
    book.promises[paid_on].append(what)
    return "paid"


def _move(book: Daybook, day: date, what: Row) -> None:
    book.numbers.move += 1
    item, warehouse, invoice, bill, quantity = what
    book.rows["stock_moves"].append(
        (book.numbers.move, item, warehouse, invoice, bill, day, quantity)
    )


def _post(book: Daybook, day: date, what: tuple[str, str], legs: Sequence[Leg]) -> None:
    book.numbers.entry += 1
    book.rows["journal_entries"].append((book.numbers.entry, day, *what))
    for place, leg in enumerate(legs, start=1):
        book.rows["journal_lines"].append((book.numbers.entry, place, *leg))
