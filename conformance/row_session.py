"""Sessions that can't be stolen: what the cookie says, and whose id it holds."""

import secrets
from typing import TYPE_CHECKING

from conformance.check import Broken, NotRun, check
from conformance.http import Client, number_in, set_cookies
from conformance.target import Target

if TYPE_CHECKING:
    from http.cookies import Morsel

LEAST_LENGTH = 22  # characters: 128 bits in base64
SESSIONS = 8


@check("session", "Scripts can't read the cookie (HttpOnly).", needs=("visits",))
def cookie_is_http_only(target: Target) -> str:
    cookie = _cookie(target)
    if not cookie["httponly"]:
        do = "set HttpOnly: one injected script would be enough to take the session away"
        raise Broken(f"the cookie {cookie.key!r} is set without HttpOnly", do)
    return f"{cookie.key!r} has HttpOnly"


@check("session", "Other sites' pages can't write with the cookie (SameSite).", needs=("visits",))
def cookie_is_same_site(target: Target) -> str:
    cookie = _cookie(target)
    if cookie["samesite"].lower() not in ("lax", "strict"):
        raise Broken(f"the cookie {cookie.key!r} is set without SameSite=Lax or Strict", "set SameSite=Lax")
    return f"{cookie.key!r} has SameSite={cookie['samesite']}"


@check("session", "The cookie goes over HTTPS only (Secure).", needs=("visits",))
def cookie_is_secure(target: Target) -> str:
    cookie = _cookie(target)
    if not cookie["secure"]:
        do = "set Secure, as in production: without it one plain request shows the session to everybody on the way"
        raise Broken(f"the cookie {cookie.key!r} is set without Secure", do)
    return f"{cookie.key!r} has Secure"


@check("session", "A session id can't be guessed.", needs=("visits",))
def ids_are_random(target: Target) -> str:
    values = {_cookie(target).value for _ in range(SESSIONS)}
    shortest = min(map(len, values))
    if len(values) < SESSIONS or shortest < LEAST_LENGTH:
        saw = f"{SESSIONS} new sessions had {len(values)} different ids, the shortest of {shortest} characters"
        raise Broken(saw, "take 128 random bits or more from the system's generator")
    return f"{SESSIONS} sessions, {SESSIONS} ids of at least {shortest} characters"


@check("session", "An id that the visitor made up is not taken over.", needs=("visits",))
def planted_ids_are_refused(target: Target) -> str:
    known = _cookie(target)
    planted = _other(known.value)
    with Client(target.instances[0].base) as client:
        client.cookies[known.key] = planted
        count = target.visit(client)
        if client.cookies.get(known.key) == planted:
            do = "begin a session under an id of one's own making only"
            raise Broken(f"a made-up id was taken over: visit {count} was counted under it", do)
    return "a new id was given instead"


@check("session", "Signing in changes the session's id, and the old one opens nothing.", needs=("visits", "sign-in"))
def sign_in_changes_the_id(target: Target) -> str:
    assert target.paths.sign_in is not None
    assert target.paths.visits is not None
    with Client(target.instances[0].base) as client, Client(target.instances[0].base) as thief:
        target.visit(client)
        before = dict(client.cookies)
        response = client.call(target.paths.sign_in)
        if response.status >= 400:
            raise NotRun(f"signing in gets {response.status}; see --session-path")
        do = "give the session a new id when somebody signs in, and end the old one"
        if client.cookies == before:
            raise Broken("the id is the same before and after signing in: who planted it is signed in too", do)
        thief.cookies |= before
        opened = thief.call(target.paths.visits)
        count = number_in(opened, target.visits_field) or 0
        if opened.status < 400 and count > 1:
            raise Broken(f"the id from before signing in still opens the session, for visit number {count}", do)
    return "another id after signing in, and the old one opened nothing"


def _cookie(target: Target) -> "Morsel[str]":
    """The cookie of a new session."""
    assert target.paths.visits is not None
    with Client(target.instances[0].base) as client:
        response = client.call(target.paths.visits)
    cookies = list(set_cookies(response.headers).values())
    if not cookies:
        raise NotRun(f"{target.paths.visits.path} set no cookie ({response.status}); see --visits-path")
    return max(cookies, key=lambda morsel: len(morsel.value))


def _other(value: str) -> str:
    """Another value of the same form, so that only the store can tell that it was never given out."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    changed = [secrets.choice(letters) if c.isalnum() and c.isascii() else c for c in value[:-1]]
    return "".join(changed) + value[-1:]
