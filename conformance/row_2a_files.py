"""Row 2a: what one instance was given, the others have."""

from conformance.check import Broken, NotRun, Stage, check
from conformance.http import Client
from conformance.target import Target
from conformance.trials import kills, read_back, upload

DO = "keep files in object storage (or on a disk that all instances share), not in the container's own folder"


@check("2a", "A file that was uploaded through one instance is read through another.", needs=("two instances", "files"))
def files_are_shared(target: Target) -> str:
    first, second = target.instances[0].base, target.instances[1].base
    with target.visitor() as client:
        _visitor_is_known(target, client)
        upload(target, client.at(first), "shared.txt")
        wrong = read_back(target, client.at(second), "shared.txt")
    if wrong:
        raise Broken(f"uploaded through {first}, read through {second}: {wrong}", DO)
    return "uploaded through the first, the same bytes through the second"


@check("2a", "A file outlives the instance that took it.", needs=("kill", "files"), stage=Stage.KILL)
def files_survive(target: Target) -> str:
    with target.visitor() as client:
        _visitor_is_known(target, client)
    found = target.trial(kills)
    for via, wrong in found.files:
        if wrong:
            raise Broken(f"through {via}: {wrong}", DO)
    return f"{len(found.files)} kills, the file is the same after each"


def _visitor_is_known(target: Target, client: Client) -> None:
    """Files belong to visitors. Where the second instance does not know the visitor, nothing is proved about files."""
    if target.paths.visits is None:
        return
    first = target.visit(client)
    for instance in target.instances[1:2]:
        if target.visit(client.at(instance.base)) != first + 1:
            raise NotRun("the instances don't share sessions, so a visitor's files can't be asked for; mend 2b first")
