"""Row 6b: a volume from outside is written by a user that is not root."""

from conformance.check import Broken, NotRun, check
from conformance.cluster import kubectl, pods, where
from conformance.target import CommandFailed, Target

DO = "set fsGroup in the pod's securityContext: the volume's folder belongs to root else"


@check("6b", "Claims are written without root.", needs=("cluster",))
def claims_are_written(target: Target) -> str:
    seen = []
    for pod in pods(target):
        claims = {v["name"] for v in pod["spec"].get("volumes") or () if "persistentVolumeClaim" in v}
        for container in pod["spec"]["containers"]:
            for mount in container.get("volumeMounts") or ():
                if mount["name"] in claims and not mount.get("readOnly"):
                    name, path = pod["metadata"]["name"], mount["mountPath"]
                    script = f"id -u && : >{path}/.practice-probe && rm {path}/.practice-probe"
                    try:
                        user = kubectl(target, "exec", name, "--container", container["name"], "--", "sh", "-c", script)
                    except CommandFailed as error:
                        raise Broken(f"{where(pod, container)} can't write {path}: {str(error)[-120:]}", DO) from None
                    if user.strip() == "0":
                        do = "run as a number that is not 0, and set fsGroup"
                        raise Broken(f"{where(pod, container)} writes {path} as root", do)
                    seen.append(f"{name} writes {path} as uid {user.strip()}")
    if not seen:
        raise NotRun("no pod of this namespace has a claim")
    return ", ".join(seen)
