"""Row 2a: what one instance was given, the others have."""

from conformance.check import Broken, NotRun, Stage, check
from conformance.http import Client
from conformance.kept import Kept
from conformance.target import Target
from conformance.trials import kills

DO = "keep it in object storage or a database (or on a disk that all instances share), not in the instance itself"


@check("2a", "What was stored through one instance is read through another.", needs=("two instances", "kept"))
def state_is_shared(target: Target) -> str:
    first, second = target.instances[0].base, target.instances[1].base
    kept = target.kept("shared.txt")
    with target.visitor() as client:
        _visitor_is_known(target, client)
        for each in kept:
            each.store(client.at(first))
            if wrong := each.read_back(client.at(second)):
                raise Broken(f"the {each.what} was stored through {first}, read through {second}: {wrong}", DO)
    return f"a {_names(kept)} stored through the first, the same through the second"


@check("2a", "What was stored outlives the instance that took it.", needs=("kill", "kept"), stage=Stage.KILL)
def state_survives(target: Target) -> str:
    with target.visitor() as client:
        _visitor_is_known(target, client)
    for what, wrong in target.trial(kills).kept:
        if wrong:
            raise Broken(f"{what}: {wrong}", DO)
    return f"{len(target.instances)} kills, the {_names(target.kept(''))} is the same after each"


def _names(kept: list[Kept]) -> str:
    return " and ".join(each.what for each in kept)


def _visitor_is_known(target: Target, client: Client) -> None:
    """What is stored is a visitor's. Where the second instance does not know the visitor, nothing is proved of it."""
    if target.paths.visits is None:
        return
    first = target.visit(client)
    for instance in target.instances[1:2]:
        if target.visit(client.at(instance.base)) != first + 1:
            raise NotRun(
                "the instances don't share sessions, so what a visitor stored can't be asked for; mend 2b first"
            )
