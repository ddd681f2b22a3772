"""Row 6c: the port in the container is the service's choice; the platform maps the one that visitors use."""

from conformance.check import Broken, NotRun, check
from conformance.inside import listening_ports
from conformance.target import Target


@check("6c", "The service listens on no port under 1024.", needs=("inside",))
def ports_need_no_privilege(target: Target) -> str:
    found: set[int] = set()
    for instance in target.instances:
        ports = listening_ports(target, instance)
        low = sorted(port for port in ports if port < 1024)
        if low:
            do = "listen on 8080 or so: the Service (or docker run -p) maps port 80 to it"
            raise Broken(f"instance {instance.number} listens on port {low[0]}, which needs a privilege", do)
        found |= ports
    if not found:
        raise NotRun(
            "no listening socket was found ; is --pid the service's own process, or --exec-command its container?"
        )
    return f"it listens on {', '.join(map(str, sorted(found)))}"
