"""Row 6a: what the processes may do, as the kernel sees them."""

from conformance.check import Broken, check
from conformance.inside import processes
from conformance.target import Target

NET_BIND_SERVICE = 1 << 10  # the one capability that Pod Security's "restricted" lets a container add


@check("6a", "No process runs as root.", needs=("inside",))
def user_is_not_root(target: Target) -> str:
    seen = set()
    for instance in target.instances:
        for process in processes(target, instance):
            uids, gids = process.numbers("Uid"), process.numbers("Gid")
            if 0 in uids:
                do = "set a numeric USER in the image, and runAsUser and runAsNonRoot in the manifest"
                raise Broken(f"{process.name} of instance {instance.number} runs with uid 0 (root)", do)
            seen.add(f"uid {uids[0]} gid {gids[0]}")
    return ", ".join(sorted(seen))


@check("6a", "No process has or can get a capability.", needs=("inside",))
def capabilities_are_dropped(target: Target) -> str:
    count = 0
    for instance in target.instances:
        for process in processes(target, instance):
            count += 1
            held = {name: process.mask(name) & ~NET_BIND_SERVICE for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")}
            for name, mask in held.items():
                if mask:
                    do = "drop all capabilities (capabilities: {drop: [ALL]}, docker run --cap-drop ALL)"
                    raise Broken(f"{process.name} of instance {instance.number} has {name} {mask:#x}", do)
            if process.status.get("NoNewPrivs") != "1":
                do = "set allowPrivilegeEscalation: false (docker run --security-opt no-new-privileges)"
                raise Broken(f"{process.name} of instance {instance.number} may gain privileges (NoNewPrivs 0)", do)
    return f"{count} processes without capabilities and with NoNewPrivs"
