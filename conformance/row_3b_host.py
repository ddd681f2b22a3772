"""Row 3b: the application changes nothing of the host; what must be changed is named, and safe."""

from conformance.check import Broken, check
from conformance.cluster import containers, pods, where
from conformance.target import Target

# Those that Kubernetes calls safe: they belong to the pod's own namespaces.
SAFE = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


@check("3b", "No pod mounts a path of the host or takes a port of it.", needs=("cluster",))
def host_is_left_alone(target: Target) -> str:
    every = pods(target)
    for pod in every:
        for volume in pod["spec"].get("volumes") or ():
            if "hostPath" in volume:
                do = "use an emptyDir, a claim or a ConfigMap"
                raise Broken(f"{where(pod)} mounts {volume['hostPath'].get('path')} of the host", do)
        for container in containers(pod):
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    saw = f"{where(pod, container)} takes port {port['hostPort']} of the host"
                    raise Broken(saw, "have a Service lead to it")
    return f"{len(every)} pods"


@check("3b", "Only safe sysctls are set, by the pod's securityContext.", needs=("cluster",))
def sysctls_are_safe(target: Target) -> str:
    names = set()
    for pod in pods(target):
        for sysctl in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
            names.add(sysctl["name"])
            if sysctl["name"] not in SAFE:
                do = "leave it to who runs the nodes: it changes what other pods have, too"
                raise Broken(f"{where(pod)} sets {sysctl['name']}", do)
    return ", ".join(sorted(names)) or "none is set"
