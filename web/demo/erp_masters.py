"""Who and what Nakheel Trading deals with: companies, accounts, people, customers, goods."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product

from web.demo import words
from web.demo.chance import stream
from web.demo.days import FIRST_DAY
from web.demo.goods import BRANDS, CATEGORIES
from web.demo.tables import Row
from web.demo.words import Term

EMPLOYEES = 180
CUSTOMERS = 2400
SUPPLIERS = 320
PRODUCTS = 3000

COMPANIES = words.terms(
    """
    Nakheel Trading LLC|شركة النخيل للتجارة ذ.م.م
    Nakheel Retail LLC|شركة النخيل للتجزئة ذ.م.م
    Nakheel Logistics FZE|النخيل للخدمات اللوجستية م.م.ح
    """
)
BRANCHES = words.terms(
    """
    Deira head office|المركز الرئيسي - ديرة
    Al Quoz showroom|معرض القوز
    Sharjah industrial area|فرع الصناعية - الشارقة
    Karama shop|محل الكرامة
    Mirdif shop|محل مردف
    Al Ain shop|محل العين
    Jebel Ali yard|ساحة جبل علي
    Abu Dhabi Mussafah|فرع مصفح - أبوظبي
    """
)
COMPANY_OF_BRANCH = (1, 1, 1, 2, 2, 2, 3, 1)
ACCOUNTS = (
    ("1000", None, "Assets", "الأصول", "asset"),
    ("1100", "1000", "Cash in hand", "النقدية بالصندوق", "asset"),
    ("1200", "1000", "Bank, current account", "البنك - الحساب الجاري", "asset"),
    ("1300", "1000", "Trade receivables", "الذمم المدينة", "asset"),
    ("1400", "1000", "Stock in trade", "المخزون السلعي", "asset"),
    ("1500", "1000", "Input VAT", "ضريبة المدخلات", "asset"),
    ("1600", "1000", "Vehicles", "السيارات", "asset"),
    ("1700", "1000", "Shop fittings", "تجهيزات المحلات", "asset"),
    ("2000", None, "Liabilities", "الالتزامات", "liability"),
    ("2100", "2000", "Trade payables", "الذمم الدائنة", "liability"),
    ("2200", "2000", "Output VAT", "ضريبة المخرجات", "liability"),
    ("2300", "2000", "End of service benefits", "مكافآت نهاية الخدمة", "liability"),
    ("2400", "2000", "Bank loan", "قرض بنكي", "liability"),
    ("3000", None, "Equity", "حقوق الملكية", "equity"),
    ("3100", "3000", "Share capital", "رأس المال", "equity"),
    ("3200", "3000", "Retained earnings", "الأرباح المحتجزة", "equity"),
    ("4000", None, "Income", "الإيرادات", "income"),
    ("4100", "4000", "Sales", "المبيعات", "income"),
    ("4200", "4000", "Delivery charges", "رسوم التوصيل", "income"),
    ("5000", None, "Expenses", "المصروفات", "expense"),
    ("5100", "5000", "Cost of goods sold", "تكلفة البضاعة المباعة", "expense"),
    ("5200", "5000", "Salaries", "الرواتب", "expense"),
    ("5300", "5000", "Rent", "الإيجار", "expense"),
    ("5400", "5000", "Electricity and water", "الكهرباء والمياه", "expense"),
    ("5500", "5000", "Fuel and maintenance", "الوقود والصيانة", "expense"),
)


def rows(seed: int) -> dict[str, Iterator[Row]]:
    """Rows by table, in an order in which each table comes after those it refers to."""
    return {
        "companies": _companies(),
        "branches": _branches(),
        "warehouses": _warehouses(),
        "accounts": iter(ACCOUNTS),
        "employees": _employees(stream(seed, "erp", "employees")),
        "customers": _customers(stream(seed, "erp", "customers")),
        "suppliers": _suppliers(stream(seed, "erp", "suppliers")),
        "product_categories": _categories(),
        "products": _products(stream(seed, "erp", "products")),
    }


def _companies() -> Iterator[Row]:
    for number, name in enumerate(COMPANIES, start=1):
        yield number, name.english, name.arabic, "Dubai", f"10000000{number:04d}003"


def _branches() -> Iterator[Row]:
    for number, name in enumerate(BRANCHES, start=1):
        opened = date(2009 + number, 1 + number, 15)
        yield number, COMPANY_OF_BRANCH[number - 1], name.english, name.arabic, opened


def _warehouses() -> Iterator[Row]:
    for number, branch in enumerate(BRANCHES, start=1):
        yield number, number, f"Store of {branch.english}", f"مستودع {branch.arabic}"


def _employees(chance: random.Random) -> Iterator[Row]:
    people = chance.sample(list(product(words.FIRST_NAMES, words.FAMILY_NAMES)), EMPLOYEES)
    branches = len(BRANCHES)
    for number, (first, family) in enumerate(people, start=1):
        name = words.person(first, family)
        leads = number <= branches
        job = Term("Branch manager", "مدير فرع") if leads else chance.choice(words.JOBS)
        branch = (number - 1) % branches + 1
        email = f"{words.address(name.english)}@nakheel.example"
        hired = FIRST_DAY - timedelta(days=chance.randint(30, 4000))
        salary = chance.randrange(14_000, 26_000, 500) if leads else chance.randrange(3500, 12_000)
        manager = None if leads else branch
        yield (
            *(number, branch, manager, name.english, name.arabic),
            *(job.english, job.arabic, email, hired, salary * 100),
        )


def _customers(chance: random.Random) -> Iterator[Row]:
    choices = list(product(words.COMPANY_NAMES, words.TRADES, words.EMIRATES_CITIES))
    for number, parts in enumerate(chance.sample(choices, CUSTOMERS), start=1):
        name = words.company(*parts)
        registered = chance.random() < 0.8
        yield (
            *(number, chance.randint(1, len(BRANCHES)), name.english, name.arabic),
            *(parts[2].english, _phone(chance), f"{words.address(name.english)}@mail.example"),
            f"100{chance.randrange(10**12):012d}" if registered else None,
            chance.choice((0, 500_000, 2_000_000, 5_000_000)),
            chance.choice((0, 15, 30, 30, 60)),
            FIRST_DAY - timedelta(days=chance.randint(1, 3000)),
        )


def _suppliers(chance: random.Random) -> Iterator[Row]:
    choices = list(product(words.COMPANY_NAMES, words.TRADES, words.EGYPT_CITIES))
    for number, parts in enumerate(chance.sample(choices, SUPPLIERS), start=1):
        name = words.company(*parts)
        email = f"sales.{words.address(name.english)}@supply.example"
        yield number, name.english, name.arabic, "EG", email, chance.choice((30, 45, 60, 90))


def _categories() -> Iterator[Row]:
    for number, category in enumerate(CATEGORIES, start=1):
        yield number, category.name.english, category.name.arabic


def _products(chance: random.Random) -> Iterator[Row]:
    choices = [
        (place, good, brand, size)
        for place, category in enumerate(CATEGORIES)
        for good, brand, size in product(category.goods, BRANDS, range(len(category.packs)))
    ]
    for number, (place, good, brand, size) in enumerate(chance.sample(choices, PRODUCTS), start=1):
        name = words.join(good, brand, CATEGORIES[place].packs[size])
        cost = int(CATEGORIES[place].cost * (1, 1.9, 6, 11, 24)[size] * chance.uniform(0.8, 1.6))
        yield (
            *(number, place + 1, f"NT-{place + 1:02d}-{number:05d}", f"629{number:010d}"),
            *(name.english, name.arabic, cost, int(cost * chance.uniform(1.15, 1.7))),
            *(chance.random() < 0.97, FIRST_DAY),
        )


def _phone(chance: random.Random) -> str:
    """Meant to ring nowhere: no subscriber number begins with zero."""
    return f"+971 4 0{chance.randrange(100):02d} {chance.randrange(10**4):04d}"
