"""Row 5b: readiness says whether traffic should come. Rollouts and drains in a cluster belong to its own tests."""

from conformance.check import Broken, NotRun, Stage, check
from conformance.health import responds_with_200
from conformance.target import Target
from conformance.trials import stop


@check("5b", "Readiness responds with 200 while all is well.", needs=("ready",))
def readiness_is_there(target: Target) -> str:
    return responds_with_200(target, target.paths.ready, "once requests can be served, or give --ready-path")


@check("5b", "Readiness says no when the instance is about to end.", needs=("ready", "stop"), stage=Stage.STOP)
def readiness_can_fail(target: Target) -> str:
    found = target.trial(stop)
    if found.said_no is not None:
        return f"it said no {found.said_no:.1f} s after the stop"
    if found.ended_after is None:
        raise NotRun("the instance took no notice of the stop at all; see the row stop")
    if found.said_yes < target.limits.notice * 0.8:
        raise NotRun("the instance was gone before readiness could say anything; see the row stop")
    saw = f"it said 200 for {found.said_yes:.1f} s after the stop, and then the instance was gone"
    raise Broken(saw, "fail readiness from SIGTERM on, and serve until the platform has noticed; only then stop")
