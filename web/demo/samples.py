"""The three sample tenants, as an operator would enter them."""

from __future__ import annotations

from dataclasses import dataclass

from web.demo.words import Term


@dataclass(frozen=True)
class Sample:
    """A tenant of the demo; which modules make its data stands in the comment of each."""

    slug: str
    name: Term
    plan: str  # one of those that ship
    timezone: str  # IANA
    country: str  # ISO 3166
    locale: str  # BCP 47
    currency: str  # ISO 4217
    pack: str  # the policy it is under; one of those that ship


# erp: a database
NAKHEEL = Sample(
    "nakheel",
    Term("Nakheel Trading", "شركة النخيل للتجارة"),
    "enterprise",
    timezone="Asia/Dubai",
    country="AE",
    locale="ar-AE",
    currency="AED",
    pack="datacore",
)
# crm: the schema "crm" of a database; attachments: a folder
DELTA = Sample(
    "delta",
    Term("Delta CRM", "دلتا لإدارة علاقات العملاء"),
    "business",
    timezone="Africa/Cairo",
    country="EG",
    locale="ar-EG",
    currency="EGP",
    pack="daftra",
)
# telephony: a database; recordings: a folder
RIYADH = Sample(
    "riyadh-voice",
    Term("Riyadh Voice", "صوت الرياض"),
    "business",
    timezone="Asia/Riyadh",
    country="SA",
    locale="ar-SA",
    currency="SAR",
    pack="mittal",
)
SAMPLES = (NAKHEEL, DELTA, RIYADH)
