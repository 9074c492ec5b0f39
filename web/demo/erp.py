"""Nakheel Trading's ERP: one PostgreSQL database with two years of trade in Dubai."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from web.demo import days, erp_masters, erp_trade
from web.demo.chance import stream
from web.demo.erp_trade import Daybook, Numbers
from web.demo.summary import Summary
from web.demo.tables import catch_up, fill, run_file

MASTER_COLUMNS = {
    "companies": "id name name_ar city trn",
    "branches": "id company_id name name_ar opened_on",
    "warehouses": "id branch_id name name_ar",
    "accounts": "code parent_code name name_ar kind",
    "employees": "id branch_id manager_id name name_ar job job_ar email hired_on salary",
    "customers": "id branch_id name name_ar city phone email trn credit_limit payment_days since",
    "suppliers": "id name name_ar country email payment_days",
    "product_categories": "id name name_ar",
    "products": "id category_id sku barcode name name_ar cost price active updated_on",
}
TRADE_COLUMNS = {
    "sales_invoices": "id number customer_id branch_id employee_id issued_on due_on net vat gross"
    " status note",
    "sales_invoice_lines": "invoice_id line product_id quantity unit_price",
    "purchase_bills": "id supplier_id warehouse_id supplier_number received_on due_on net vat"
    " gross status",
    "purchase_bill_lines": "bill_id line product_id quantity unit_cost",
    "payments": "id invoice_id bill_id paid_on method amount",
    "stock_moves": "id product_id warehouse_id invoice_id bill_id moved_on quantity",
    "journal_entries": "id posted_on kind memo",
    "journal_lines": "entry_id line account_code debit credit",
}


def create(connection: Connection[Any], *, seed: int) -> Summary:
    """Fill an empty database, in one transaction."""
    with connection.transaction():
        run_file(connection, "erp_tables.sql")
        masters = fill(connection, MASTER_COLUMNS, erp_masters.rows(seed))
        book = Daybook(
            erp_trade.read_world(connection), stream(seed, "erp", "trade"), days.LAST_DAY
        )
        erp_trade.open_books(book, days.FIRST_DAY)
        for day in days.history():
            erp_trade.trade(book, day)
        traded = _write(connection, book)
        run_file(connection, "erp_rules.sql")
        returns = connection.execute("SELECT count(*) FROM vat_returns").fetchone()
    assert returns is not None
    return Summary(tables=masters.tables + traded.tables + (("vat_returns", returns[0]),))


def change_a_day(connection: Connection[Any], *, seed: int, day: int) -> Summary:
    """New invoices, bills and payments; some open invoices are paid, some prices change."""
    chance = stream(seed, "erp", "day", day)
    date = days.after(day)
    with connection.transaction():
        world = erp_trade.read_world(connection)
        book = Daybook(world, chance, date, _last_numbers(connection))
        _settle_oldest(connection, book, day)
        erp_trade.trade(book, date)
        written = _write(connection, book)
        for product, _, price in chance.sample(world.products, 12):
            connection.execute(
                "UPDATE products SET price = %s, updated_on = %s WHERE id = %s",
                (int(price * chance.uniform(1.02, 1.09)) + 1, date, product),
            )
    return Summary(tables=(*written.tables, ("products", 12)))


def damage(connection: Connection[Any]) -> str:
    """An update that lost its WHERE, and a clean-up that went too far."""
    with connection.transaction():
        prices = connection.execute("UPDATE products SET price = price / 100").rowcount
        lines = connection.execute(
            "DELETE FROM sales_invoice_lines USING sales_invoices"
            " WHERE id = invoice_id AND issued_on >= %s",
            (days.LAST_DAY.replace(day=1),),
        ).rowcount
        connection.execute("DROP VIEW customer_balances")
    return (
        f"An UPDATE without WHERE divided all {prices:,} prices by 100, {lines:,} lines of "
        f"invoices since {days.LAST_DAY:%B %Y} began were deleted, and a view was dropped."
    )


def _settle_oldest(connection: Connection[Any], book: Daybook, day: int) -> None:
    paid = connection.execute(
        "UPDATE sales_invoices SET status = 'paid' WHERE id IN"
        " (SELECT id FROM sales_invoices WHERE status = 'open' ORDER BY due_on, id LIMIT %s)"
        " RETURNING id, gross",
        (20 + day % 7,),
    ).fetchall()
    for invoice, gross in sorted(paid):
        erp_trade.settle(book, days.after(day), invoice=invoice, amount=gross)


def _write(connection: Connection[Any], book: Daybook) -> Summary:
    written = fill(connection, TRADE_COLUMNS, {name: book.rows[name] for name in TRADE_COLUMNS})
    catch_up(connection, {"invoice_numbers": "sales_invoices"})
    return written


def _last_numbers(connection: Connection[Any]) -> Numbers:
    row = connection.execute(
        "SELECT (SELECT max(id) FROM sales_invoices), (SELECT max(id) FROM purchase_bills),"
        " (SELECT max(id) FROM payments), (SELECT max(id) FROM stock_moves),"
        " (SELECT max(id) FROM journal_entries)"
    ).fetchone()
    assert row is not None
    return Numbers(*row)
