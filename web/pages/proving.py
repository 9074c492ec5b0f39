"""For what a person proves once more that it is them: said on the page that asks for it.

The address carries a code; what is shown is looked up here, and never taken from the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from strongroom.people.rules import Action
from web.pages.language import N_

FIELD = "for"
OWN, TOKEN = "own-sign-in", "own-token"
WORDS: Mapping[str, str] = {
    Action.RESTORE_IN_PLACE: N_("Prove once more that it is you, to replace live data."),
    Action.APPROVE_RESTORE: N_(
        "Prove once more that it is you, to allow or refuse a restore that somebody else asked for."
    ),
    Action.UNDO_RESTORE: N_("Prove once more that it is you, to undo a restore."),
    Action.DOWNLOAD: N_("Prove once more that it is you, to take data away by a download."),
    Action.DECIDE_GRANT: N_(
        "Prove once more that it is you, to let our support in or to refuse it."
    ),
    Action.MANAGE_MEMBERS: N_("Prove once more that it is you, to change who has access."),
    Action.SET_CONTACT: N_("Prove once more that it is you, to change the second contact."),
    Action.EXPORT_KIT: N_(
        "Prove once more that it is you, to export the exit kit, which holds a copy of the key."
    ),
    Action.MANAGE_STAFF: N_("Prove once more that it is you, to change who is staff."),
    Action.SECOND_GRANT: N_(
        "Prove once more that it is you, to decide on a support grant in a tenant's place."
    ),
    Action.RELEASE_HOLD: N_("Prove once more that it is you, to release a hold."),
    Action.HANDLE_KEYS: N_("Prove once more that it is you, to handle shares of the escrow key."),
    Action.ATTEST_PROMISE: N_(
        "Prove once more that it is you, to confirm a promise with a document."
    ),
    Action.SIGN_STATEMENT: N_("Prove once more that it is you, to sign a monthly statement."),
    OWN: N_("Prove once more that it is you, to change how you sign in."),
    TOKEN: N_("Prove once more that it is you, to make a token for the command line."),
}
OTHERWISE = N_(
    "What you asked for is only done after a second proof that is a few minutes old at most."
)


def words(code: str | None) -> str:
    """What it is for; of a code that is none of ours nothing is shown."""
    return WORDS.get(code or "", OTHERWISE)


def code_of(code: str | None) -> str | None:
    """The code, if it is one of ours."""
    return code if code in WORDS else None


def address(code: str, back: str) -> str:
    """Of the page that asks for the proof, and goes on to `back`."""
    more: dict[str, Any] = {"next": back, FIELD: str(code)}
    return url_for("signing.step_up", **more)
