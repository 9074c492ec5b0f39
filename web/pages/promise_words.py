"""The promise register in words: states, how each promise is enforced, how it fails, what was seen."""

from __future__ import annotations

from collections.abc import Mapping

from web.pages.language import N_
from web.promises.register import Row

NOT_BUILT = "not-built"
ATTESTED = "attested"  # where nothing but a person's word shows it

STATES: Mapping[str, str] = {
    "kept": N_("kept"),
    "at-risk": N_("at risk"),
    "broken": N_("broken"),
    "cannot-be-proven": N_("cannot be proven"),
    "not-built": N_("not built yet"),
}
KINDS: Mapping[str, str] = {
    "enforced": N_("enforced and measured"),
    "attested": N_("confirmed by a person, with a document"),
}
# What a measure counts.
THINGS: Mapping[str, str] = {
    "daily-weekly": N_("tenants"),
    "regions": N_("tenants"),
    "integrity": N_("tenants"),
    "custom-schedule": N_("tenants with a schedule of their own"),
    "latest-verified": N_("tenants"),
    "plan-retention": N_("tenants"),
    "support-access": N_("grants and visits of staff"),
    "roles-mfa": N_("administrative accounts"),
    "transport": N_("ways that data takes"),
    "own-copy": N_("tenants that took a copy"),
    "revision": N_("versions of the policy"),
    "data-kept": N_("tenants"),
    "caller": N_("tenants that called"),
    "contact-columns": N_("fields for contact data"),
    "message-age": N_("sources held only to be sent on"),
    "encrypted": N_("repositories"),
    "sign-in": N_("identity providers"),
    "legal-hold": N_("legal holds"),
    "bilingual": N_("messages"),
    "necessary": N_("tenants"),
    "second-factor": N_("people"),
    "cookies": N_("places that set a cookie"),
}
HOW: Mapping[str, str] = {
    "daily-weekly": N_(
        "Two schedules a tenant; whatever is missed becomes a row, and silence is seen from the schedules themselves."
    ),
    "regions": N_(
        "The plan and the pack say how many copies there are and how far apart they lie; a copy that is missing is brought."
    ),
    "integrity": N_(
        "Repositories are checked and read back by rota, and whole restores are rehearsed and compared."
    ),
    "custom-schedule": N_(
        "Where the plan allows it, the tenant's own times take the place of the plan's."
    ),
    "latest-verified": N_(
        "Every new point is read back; a restore of the latest takes the newest verified one, and names newer ones that it passed over."
    ),
    "plan-retention": N_(
        "Only retention lets points go, with a reason that is kept; a plan that would let some go is refused."
    ),
    "support-access": N_(
        "Staff see nothing of a tenant without a grant that somebody else gave, that ends by itself and is on record."
    ),
    "roles-mfa": N_(
        "One table of roles and actions; who administers can do nothing before a second factor was given."
    ),
    "transport": N_(
        "Regions and pages are reached by TLS; the record is signed all the time. Patching and outside audits an owner confirms."
    ),
    "own-copy": N_("Admins download their data, and the exit kit opens with plain restic."),
    "revision": N_("Each version of a pack is noted, with its dates."),
    "data-kept": N_("While a tenant is here, its newest verified points never go."),
    "caller": N_(
        "The tenant has a PIN that changes every half hour; staff can only check one, and every try is on record."
    ),
    "contact-columns": N_("The database has no room for anything else."),
    "message-age": N_(
        "The pack's limit is in the tenant's policy, and retention removes what is older, whatever the plan says."
    ),
    "encrypted": N_(
        "restic encrypts all that is stored; what opens it lies wrapped by a key of the tenant's own."
    ),
    "sign-in": N_("People sign in by OpenID Connect with the providers that the settings name."),
    "legal-hold": N_(
        "A hold needs a reason, and nothing of the tenant is removed while it stands."
    ),
    "bilingual": N_("A message without its Arabic is refused before it is released."),
    "absolute": N_("Nothing can enforce it, and nothing could show it."),
    "necessary": N_("Retention lets go of what the plan does not keep, in every region."),
    "second-factor": N_("Authenticator apps and passkeys can be set up by everybody."),
    "cookies": N_("The cookie is a random token, of which the database has a hash alone."),
    NOT_BUILT: N_("The platform does not do this yet."),
    ATTESTED: N_("An owner confirms it with a document, at an interval."),
}
FAILS: Mapping[str, str] = {
    "daily-weekly": N_(
        "Broken: a tenant is overdue, or nobody plans its backups. At risk: a backup of the last seven days is missing."
    ),
    "regions": N_(
        "Broken: newer points lie in too few regions, or copies lie too near to one another. At risk: a copy cannot be brought."
    ),
    "integrity": N_(
        "Broken: a proof or a rehearsed restore failed, data is missing, or a proof is overdue by twice its time. At risk: a proof is overdue."
    ),
    "custom-schedule": N_("Broken: what is in force is not what the tenant chose."),
    "latest-verified": N_(
        "Broken: no point is verified, or for three days no new one was. At risk: the newest points are not verified yet."
    ),
    "plan-retention": N_(
        "Broken: something went before its time or without a reason, or is kept for over a week too long. At risk: two days too long."
    ),
    "support-access": N_(
        "Broken: a grant is not on record or too long, or somebody of staff looked without one. At risk: somebody looked from the command line without a name."
    ),
    "roles-mfa": N_(
        "Broken: somebody who administers is signed in without a second factor. At risk: somebody has none."
    ),
    "transport": N_(
        "Broken: a region or the pages are reached without TLS. At risk: the record is not signed."
    ),
    "own-copy": N_("Broken: the last copy that a tenant asked for failed."),
    "revision": N_("Broken: the policy was changed, and its dates were not."),
    "data-kept": N_(
        "Broken: a tenant that had backups has none, or data is lost in every region. At risk: something has to be looked at before more is removed."
    ),
    "caller": N_("At risk: somebody guesses a tenant's PIN."),
    "contact-columns": N_("Broken: there is a field for something else."),
    "message-age": N_(
        "Broken: the limit is not in force, or data is three days older than it. At risk: data is older than the limit."
    ),
    "encrypted": N_("Broken: a repository has no password that is wrapped by the tenant's key."),
    "sign-in": N_("Broken: no provider is set up."),
    "legal-hold": N_(
        "Broken: a hold has no reason, or something was removed while one stood. At risk: a hold is not on record."
    ),
    "bilingual": N_("Broken: a message has no Arabic."),
    "absolute": N_("It cannot be shown either way."),
    "necessary": N_("Broken: something is kept for over a week too long. At risk: for two days."),
    "second-factor": N_("At risk: fewer than half of the people have one."),
    "cookies": N_(
        "Broken: something else sets a cookie, or a session is kept as more than its hash."
    ),
    NOT_BUILT: N_("It says so until it is built."),
    ATTESTED: N_("At risk: the last confirmation has run out. Without any, it cannot be proven."),
}
NOTES: Mapping[str, str] = {
    "nobody-came": N_("Nobody of staff looked at any of these tenants."),
    "nobody-called": N_("Nobody called in this time."),
    "nobody-took-any": N_("No tenant took a copy in this time."),
    "no-right-to-look": N_("This process was not given the right to look at accounts."),
    "no-provider": N_("No identity provider is set up."),
    "no-transit": N_("No source is declared as held only to be sent on."),
    "no-ceiling": N_("The pack sets no limit."),
    "no-holds": N_("There never was a legal hold."),
    "only-retention": N_(
        "Retention does its part. Deletion at the end of a contract and on request is not built yet."
    ),
    "versions-disagree": N_(
        "The two versions of this policy disagree: the English one claims absolute security, the Arabic one says that none can be guaranteed. The Arabic one also lacks every list of the English one."
    ),
    "date-not-entered": N_("The policy prints a date that nobody has entered here."),
    "no-date": N_("The policy prints no date."),
    "could-not-look": N_("It could not be looked at; the log says why."),
    "unknown-measure": N_("The pack names a measure that there is none of."),
    "no-tenants": N_("No tenant is under this pack: there is nothing to see."),
    "not-confirmed": N_("Nobody has confirmed it yet."),
    "nothing-yet": N_("There is nothing to see yet."),
}
FIGURES: Mapping[str, str] = {
    "days": N_("Days looked at"),
    "slots": N_("Backups that were due"),
    "missed": N_("Backups that were missed"),
    "least_km": N_("Kilometres apart, at least"),
    "proofs": N_("Proofs passed"),
    "drills": N_("Rehearsed restores passed"),
    "restores": N_("Restores"),
    "restores_failed": N_("Restores that failed"),
    "removed": N_("Copies let go"),
    "removals_planned": N_("Copies about to go"),
    "entries": N_("Entries of the record looked through"),
    "accesses": N_("Grants and visits"),
    "staff": N_("Accounts of staff"),
    "staff_without": N_("Of them without a second factor"),
    "members": N_("People of tenants"),
    "with_factor": N_("Of them with a second factor"),
    "providers": N_("Providers"),
    "kits": N_("Exit kits taken"),
    "key_store": N_("Key store"),
    "sessions": N_("Sessions"),
    "effective": N_("In force since"),
    "revised": N_("Revised"),
    "versions": N_("Versions noted"),
}
PARAMETERS: Mapping[str, str] = {
    "message_age_days": N_("Days that messages held only to be sent may last"),
    "regions_least": N_("Regions with a copy, at least"),
    "least_km": N_("Kilometres apart, at least"),
    "hold_months_least": N_("Months kept after the contract, at least"),
    "hold_months_most": N_("Months kept after the contract, at most"),
    "request_days": N_("Days to answer a request"),
    "extension_days": N_("More days for a complex one"),
}
LANGUAGES: Mapping[str, str] = {"en": N_("English"), "ar": N_("Arabic")}
DATES: Mapping[str, str] = {
    "unpublished": N_("unpublished"),
    "not-entered": N_("printed, not entered here"),
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "promise_state": STATES,
    "promise_kind": KINDS,
    "promise_thing": THINGS,
    "promise_how": HOW,
    "promise_fails": FAILS,
    "promise_note": NOTES,
    "promise_figure": FIGURES,
    "promise_date": DATES,
    "promise_parameter": PARAMETERS,
    "promise_language": LANGUAGES,
}


def key(row: Row) -> str:
    """By which name HOW and FAILS know it."""
    return row.promise.measure or ATTESTED


def note(row: Row) -> str | None:
    """The code of what has to be said beside the figures."""
    if row.seen is not None and row.seen.note:
        return row.seen.note
    if row.promise.measure == NOT_BUILT:
        return None
    if not row.tenants:
        return "no-tenants"
    if row.promise.kind == ATTESTED and row.confirmed is None:
        return "not-confirmed"
    if row.seen is not None and not (row.seen.good or row.seen.at_risk or row.seen.broken):
        return "nothing-yet"
    return None


def how(row: Row) -> str:
    """In English, for the command line."""
    return HOW.get(key(row), "")


def fails(row: Row) -> str:
    return FAILS.get(key(row), "")


def summary(row: Row) -> str:
    """What it rests on, in a few words of English."""
    parts = []
    seen = row.seen
    if seen is not None:
        counts = {"good": seen.good, "at risk": seen.at_risk, "broken": seen.broken}
        counts |= {"too young": seen.early, "not to be seen": seen.blind}
        parts += [f"{count} {name}" for name, count in counts.items() if count]
        parts += [f"({', '.join(seen.worst)})"] if seen.worst else []
    if row.confirmed is not None:
        parts.append(f"confirmed until {row.confirmed.until.date()}")
    code = note(row)
    words = NOTES.get(code, code) if code else ""
    return "; ".join(filter(None, [" ".join(parts), words]))
