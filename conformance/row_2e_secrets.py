"""Row 2e: a secret is seen by who needs it, and by nobody else."""

import secrets
import time

from conformance.check import Broken, Stage, check
from conformance.http import Client, NoResponse
from conformance.inside import command_lines
from conformance.target import Target

IN_THE_LOG = (
    "log no headers, cookies, queries or bodies as they are; redact by name and by value before the line is made"
)


def canaries(target: Target) -> dict[str, str]:
    """A trial: secrets that a visitor sent, each by the place where it stood. Names no secret of anybody's."""
    places = ("the Authorization header", "a cookie", "a key header", "the query", "a form field")
    found = {place: f"canary{secrets.token_hex(12)}" for place in places}
    bearer, cookie, key, query, form = found.values()
    headers = {"Authorization": f"Bearer {bearer}", "Cookie": f"session={cookie}; sid={cookie}", "X-Api-Key": key}
    for instance in target.instances:
        with Client(instance.base) as client:
            for method, path, body in (
                ("GET", f"{target.paths.home}?token={query}&password={query}", None),
                ("GET", f"/nowhere?api_key={query}", None),
                ("POST", target.paths.visits.path if target.paths.visits else "/", f"password={form}".encode()),
            ):
                try:
                    kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
                    client.ask(method, path, body, headers | kind)
                except NoResponse:
                    continue
    return found


@check("2e", "Secrets that visitors send are not in the log.", needs=("log",), stage=Stage.LOG)
def visitors_secrets_are_not_logged(target: Target) -> str:
    sent = target.trial(canaries)
    time.sleep(0.3)  # what a log does not have is waited for by no event
    for instance in target.instances:
        for number, line in enumerate(target.log(instance).split(b"\n"), 1):
            for place, canary in sent.items():
                if canary.encode() in line:
                    saw = f"line {number} of instance {instance.number} holds what was sent in {place}"
                    raise Broken(f"{saw}: {_around(line, canary)}", IN_THE_LOG)
    return f"none of {', '.join(sent)}"


@check("2e", "Secrets that the service was given are not in the log.", needs=("log", "secrets"), stage=Stage.LOG)
def own_secrets_are_not_logged(target: Target) -> str:
    for instance in target.instances:
        for number, line in enumerate(target.log(instance).split(b"\n"), 1):
            if any(secret.encode() in line for secret in target.secrets):
                saw = f"line {number} of instance {instance.number} holds a secret that the service was given"
                raise Broken(saw, "log a store's address without its password; redact known secrets by value")
    return f"{len(target.secrets)} secrets looked for"


@check("2e", "Secrets that the service was given are in no response.", needs=("secrets",))
def own_secrets_are_not_served(target: Target) -> str:
    p = target.paths
    paths = [path for path in (p.home, p.health, p.ready, p.metrics, p.failing, "/nowhere", "/openapi.json") if path]
    asked = 0
    for instance in target.instances:
        for base in {instance.base, instance.platform}:
            with Client(base) as client:
                for path in paths:
                    response = client.get(path)
                    asked += 1
                    text = response.body + str(response.headers).encode()
                    if any(secret.encode() in text for secret in target.secrets):
                        do = "say what is wrong without the address and password it was tried with"
                        raise Broken(f"{base}{path} holds a secret that the service was given", do)
    return f"{asked} responses, error pages and metrics among them"


@check("2e", "Secrets that the service was given are not in its command line.", needs=("inside", "secrets"))
def own_secrets_are_no_arguments(target: Target) -> str:
    for instance in target.instances:
        lines = command_lines(target, instance)
        if any(secret in lines for secret in target.secrets):
            saw = f"instance {instance.number} has a secret among its arguments, where every process can read it"
            raise Broken(saw, "give secrets as files")
    return "none among the arguments"


def _around(line: bytes, canary: str) -> str:
    text = line.decode("utf-8", "replace")
    at = text.find(canary)
    return repr(f"{text[max(0, at - 60) : at]}[here]")
