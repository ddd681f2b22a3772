"""What liveness and readiness have in common."""

from conformance.check import Broken
from conformance.target import Target, ask


def responds_with_200(target: Target, path: str | None, when: str) -> str:
    """Ask each instance at ``path``, as the platform does, and return "200". Broken where one says something else.

    ``when``: the end of the advice, which is to respond with 200 there.
    """
    for instance in target.instances:
        response = ask(instance.platform, path or "/", seconds=5)
        if response.status != 200:
            raise Broken(f"{instance.platform}{path}: {response.status}", f"respond with 200 there {when}")
    return "200"
