"""Row 3a: no container may do more than a process of its user."""

from conformance.check import Broken, check
from conformance.cluster import Object, containers, pods, where
from conformance.target import Target

MAY_BE_ADDED = {"NET_BIND_SERVICE"}  # Pod Security's "restricted" has this one


@check("3a", "No container is privileged, and each drops all capabilities.", needs=("cluster",))
def containers_are_confined(target: Target) -> str:
    count = 0
    for pod in pods(target):
        for container in containers(pod):
            count += 1
            wrong = _wrong(container.get("securityContext") or {})
            if wrong:
                saw, do = wrong
                raise Broken(f"{where(pod, container)} {saw}", do)
    return f"{count} containers, none privileged, all without capabilities"


@check("3a", "No pod has a namespace of the host.", needs=("cluster",))
def pods_have_their_own_namespaces(target: Target) -> str:
    every = pods(target)
    for pod in every:
        shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(name)]
        if shared:
            raise Broken(f"{where(pod)} has {shared[0]}", f"remove {shared[0]}: give what it needs in another way")
    return f"{len(every)} pods"


def _wrong(context: Object) -> tuple[str, str] | None:
    capabilities = context.get("capabilities") or {}
    added = set(capabilities.get("add") or ()) - MAY_BE_ADDED
    if context.get("privileged"):
        return "is privileged", "remove privileged: true; add the one capability that it needs"
    if context.get("allowPrivilegeEscalation") is not False:
        return "may gain privileges", "set allowPrivilegeEscalation: false"
    if "ALL" not in (capabilities.get("drop") or ()):
        return "keeps capabilities", "set capabilities: {drop: [ALL]}"
    if added:
        return f"adds {', '.join(sorted(added))}", "do without, or move what needs it into a container of its own"
    return None
