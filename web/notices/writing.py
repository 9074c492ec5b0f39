"""Messages in words: text and HTML in the reader's language, and the same as data for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from strongroom.notices.letters import Letter, Told, Writer
from web.notices import words
from web.notices.speaking import N_, RIGHT_TO_LEFT, Speak, moment, speaker, technical

REASON = N_("You get this message because it is part of the service for %(name)s.")
REFUSE = N_("If you want no more messages of this kind, say so on the page of your account:")


@dataclass(frozen=True)
class Draft:
    """What a message says, before it is set."""

    subject: str
    paragraphs: tuple[str, ...]
    command: str = ""
    link: str = ""


@dataclass(frozen=True)
class Pen:
    """What every kind of message is written with."""

    told: Told
    speak: Speak
    web: str  # the address of the pages, without a slash at its end

    def at(self, moment_of: str) -> str:
        return moment(moment_of, self.told.zone, self.told.language)

    def plain(self, value: object) -> str:
        return technical(value, self.told.language)


def writer(web: str) -> Writer:
    """For pages at this address."""
    return partial(write, web=web.rstrip("/"))


def write(told: Told, *, web: str) -> Letter:
    """The letter; a kind that nobody wrote words for is told by its code."""
    pen = Pen(told, speaker(told.language), web)
    draft = DRAFTS.get(told.kind.partition(".")[0], _unknown)(pen)
    refuse = f"{web}/account/" if told.refusable else None
    return Letter(
        subject=draft.subject,
        text=_text(pen, draft, refuse),
        html=_html(pen, draft, refuse),
        data=dict(told.params),
        refuse_at=refuse,
    )


def _alert(pen: Pen) -> Draft:
    said: Mapping[str, Any] = pen.told.params
    language, speak = pen.told.language, pen.speak
    meaning = words.meaning(said["code"])
    title = words.title(said, speak, language)
    over = pen.told.kind == "alert.closed"
    lines = [title + ".", words.counted(said, speak, language)]
    if over:
        lines.append(speak(N_("It is over. It had begun at %(at)s."), at=pen.at(said["since"])))
    else:
        lines += [
            speak(meaning.todo),
            speak(N_("It began at %(at)s."), at=pen.at(said["since"])),
        ]
    event = speak(words.EVENTS.get(pen.told.kind, words.EVENTS["alert.still"]))
    return Draft(
        subject=f"[Strongroom] {event}: {title}",
        paragraphs=tuple(line for line in lines if line),
        command="" if over else words.command(said),
        link=f"{pen.web}/alerts/",
    )


def _channel(pen: Pen) -> Draft:
    return Draft(
        subject="[Strongroom] " + pen.speak(N_("A test of this channel")),
        paragraphs=(
            pen.speak(N_("This channel works. Alerts of the backup platform will come this way.")),
        ),
        link=f"{pen.web}/alerts/",
    )


def _restore(pen: Pen) -> Draft:
    said = pen.told.params
    done = pen.told.kind == "restore.done"
    title = N_("Your restore is done") if done else N_("Your restore was not done")
    line = (
        N_("What you asked for on %(at)s was restored. The page says where it lies.")
        if done
        else N_("What you asked for on %(at)s could not be restored. The page says why.")
    )
    return Draft(
        subject=f"{pen.speak(title)} · {pen.told.about}",
        paragraphs=(pen.speak(line, at=pen.at(said["asked_at"])),),
        link=f"{pen.web}/t/{pen.told.slug}/restores/{said['restore']}",
    )


def _grant(pen: Pen) -> Draft:
    said = pen.told.params
    lines = {
        "grant.asked": N_(
            "Somebody of support asks for leave to look into your account until %(until)s. You may "
            "allow or refuse it."
        ),
        "grant.open": N_("Somebody of support may look into your account until %(until)s."),
    }
    titles = {
        "grant.asked": N_("Support asks for access"),
        "grant.open": N_("Support has access"),
    }
    kind = pen.told.kind
    return Draft(
        subject=f"{pen.speak(titles[kind])} · {pen.told.about}",
        paragraphs=(
            pen.speak(lines[kind], until=pen.at(said["until"])),
            pen.speak(N_("The reason given: %(reason)s"), reason=said["reason"]),
            pen.speak(N_("You see who it is, and can end it, on the page of your support access.")),
        ),
        link=f"{pen.web}/t/{pen.told.slug}/access",
    )


def _backup(pen: Pen) -> Draft:
    said = pen.told.params
    newest = said.get("newest")
    title = pen.speak(N_("Your backup is overdue"))
    return Draft(
        subject=f"{title} · {pen.told.about}",
        paragraphs=(
            pen.speak(
                N_(
                    "There is no new complete restore point within the %(hours)s hours of your plan."
                ),
                hours=pen.plain(said["hours"]),
            ),
            pen.speak(N_("The newest one is of %(at)s."), at=pen.at(newest))
            if newest
            else pen.speak(N_("There is none yet.")),
            pen.speak(N_("We know of it and see to it. What was kept before stays restorable.")),
        ),
        link=f"{pen.web}/t/{pen.told.slug}/",
    )


def _unknown(pen: Pen) -> Draft:
    return Draft(f"[Strongroom] {pen.told.kind}", (pen.told.kind,), link=pen.web)


DRAFTS: Mapping[str, Callable[[Pen], Draft]] = {
    "alert": _alert,
    "backup": _backup,
    "channel": _channel,
    "grant": _grant,
    "restore": _restore,
}


def _text(pen: Pen, draft: Draft, refuse: str | None) -> str:
    parts = [*draft.paragraphs]
    parts += [f"    {draft.command}"] if draft.command else []
    parts += [draft.link] if draft.link else []
    parts += _why(pen)
    parts += [f"{pen.speak(REFUSE)} {refuse}"] if refuse else []
    return "\n\n".join(parts) + "\n"


def _html(pen: Pen, draft: Draft, refuse: str | None) -> str:
    """Plain, so that every program of mail shows it: no style but the direction."""
    language = pen.told.language
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    parts = [Markup("<p>{}</p>").format(each) for each in draft.paragraphs]
    if draft.command:
        parts.append(Markup('<p dir="ltr"><code>{}</code></p>').format(draft.command))
    if draft.link:
        parts.append(Markup('<p dir="ltr"><a href="{0}">{0}</a></p>').format(draft.link))
    parts += [Markup("<p><small>{}</small></p>").format(each) for each in _why(pen)]
    if refuse:
        parts.append(
            Markup('<p><small>{} <a href="{}" dir="ltr">{}</a></small></p>').format(
                pen.speak(REFUSE), refuse, refuse
            )
        )
    head = Markup(
        '<!doctype html><html lang="{}" dir="{}"><head><meta charset="utf-8"><title>{}</title>'
    )
    return str(
        head.format(language, direction, draft.subject)
        + Markup("</head><body>")
        + Markup("").join(parts)
        + Markup("</body></html>")
    )


def _why(pen: Pen) -> list[str]:
    return [pen.speak(REASON, name=pen.told.about)] if pen.told.about else []
