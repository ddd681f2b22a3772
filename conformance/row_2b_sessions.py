"""Row 2b: a visitor's session is wherever the visitor is sent."""

from conformance.check import Broken, Stage, check
from conformance.http import Client
from conformance.target import Target
from conformance.trials import kills

DO = "keep sessions in Redis or Memcached, the same one for all instances, not in the process's memory"
VISITS = 6


@check("2b", "One visitor's session is the same through every instance.", needs=("two instances", "visits"))
def sessions_are_shared(target: Target) -> str:
    with Client(target.instances[0].base) as client:
        counted = [
            target.visit(client.at(target.instances[number % len(target.instances)].base)) for number in range(VISITS)
        ]
    if counted != list(range(1, VISITS + 1)):
        raise Broken(f"{VISITS} visits, sent to the instances in turn, were counted {counted}", DO)
    return f"{VISITS} visits, sent to the instances in turn, were counted 1 to {VISITS}"


@check("2b", "No visit is lost when every instance is killed in turn.", needs=("kill", "visits"), stage=Stage.KILL)
def sessions_survive(target: Target) -> str:
    found = target.trial(kills)
    for via, wrong in found.visits:
        if wrong:
            raise Broken(f"through {via}: {wrong}", DO)
    unseen = f" ({found.unseen} of them never seen down)" if found.unseen else ""
    return f"{len(found.visits)} kills{unseen}, every visit counted"
