"""Row 5a: liveness says whether a restart would help, and nothing else."""

from conformance.check import Broken, Stage, check
from conformance.health import responds_with_200
from conformance.target import Target
from conformance.trials import outage


@check("5a", "Liveness responds with 200 while all is well.", needs=("health",))
def liveness_is_there(target: Target) -> str:
    return responds_with_200(target, target.paths.health, "while the process can serve, or give --health-path")


@check("5a", "Liveness does not depend on the session store.", needs=("health", "store"), stage=Stage.OUTAGE)
def liveness_asks_nobody(target: Target) -> str:
    found = target.trial(outage)
    if found.unhealthy:
        saw = f"with the session store stopped, liveness failed {len(found.unhealthy)} of {found.asked} times: "
        do = "ask no dependency in liveness: when the store restarts, every instance would be restarted with it"
        raise Broken(saw + found.unhealthy[0], do)
    return f"200 all {found.asked} times while the store was stopped"


@check("5a", "The service comes back by itself when the store is back.", needs=("store", "visits"), stage=Stage.OUTAGE)
def it_recovers(target: Target) -> str:
    found = target.trial(outage)
    if found.recovered_after is None:
        do = "connect to the store anew after an error, and do not end the process for it"
        raise Broken(f"sessions don't work long after the store is back: {found.last_words}", do)
    return f"sessions worked {found.recovered_after:.1f} s after the store was back"
