"""Stop without losing a request: SIGTERM, the platform's word, under load."""

from conformance.check import Broken, NotRun, Stage, check
from conformance.target import Target
from conformance.trials import stop


@check("stop", "No request fails while the platform still sends some.", needs=("stop",), stage=Stage.STOP)
def requests_are_served(target: Target) -> str:
    found = target.trial(stop)
    if found.failed:
        do = (
            "keep the listener open for some seconds after SIGTERM, and tell kept connections to close: load balancers "
            "send on until they have noticed"
        )
        saw = f"{len(found.failed)} of {found.requests} requests failed; the first {found.failed[0]}"
        raise Broken(saw, do)
    return f"{found.requests} requests from before the stop until {target.limits.notice:g} s after it, none failed"


@check("stop", "A request in flight gets its response.", needs=("stop", "kept"), stage=Stage.STOP)
def requests_in_flight_finish(target: Target) -> str:
    found = target.trial(stop)
    for what, wrong in found.in_flight.items():
        if wrong:
            do = "finish the requests that are there before the process ends"
            raise Broken(f"a {what} that was being stored when the stop began: {wrong}", do)
    if not found.closed:
        raise NotRun("new connections were served to the end of half of --grace, so nothing was cut off yet")
    what = " and ".join(found.in_flight)
    return f"a {what} that began before the stop, and ended after the last new connection, got its response"


@check("stop", "The process ends in time.", needs=("stop",), stage=Stage.STOP)
def it_ends(target: Target) -> str:
    found = target.trial(stop)
    if found.ended_after is None:
        do = (
            'SIGTERM does not reach the service: start it in exec form (ENTRYPOINT ["…"], or exec in the script), '
            "so that no shell stands before it as PID 1; and handle the signal"
        )
        raise Broken(f"it still responds {target.limits.grace:g} s after the stop: the platform would kill it", do)
    return f"gone {found.ended_after:.1f} s after the stop"
