"""Row 2c: state that must be local is on a disk that outlives its pod."""

from conformance.check import Broken, NotRun, Stage, check
from conformance.cluster import objects
from conformance.target import Target
from conformance.trials import outage


@check("2c", "What a StatefulSet keeps is on claims.", needs=("cluster",))
def state_is_on_claims(target: Target) -> str:
    names = []
    for each in objects(target, "statefulsets"):
        spec, name = each["spec"], each["metadata"]["name"]
        volumes = spec["template"]["spec"].get("volumes") or ()
        if not spec.get("volumeClaimTemplates") and not any("persistentVolumeClaim" in v for v in volumes):
            do = "give it volumeClaimTemplates: an emptyDir is gone with its pod"
            raise Broken(f"StatefulSet {name} has no claim", do)
        names.append(name)
    if not names:
        raise NotRun("there is no StatefulSet in this namespace")
    return ", ".join(names)


@check(
    "2c",
    "Sessions outlive the pod of the store that keeps them.",
    needs=("cluster", "store", "visits"),
    stage=Stage.OUTAGE,
)
def sessions_outlive_the_store(target: Target) -> str:
    found = target.trial(outage)
    if found.recovered_after is None:
        raise NotRun("the store did not come back; see 5a")
    before, after = found.visits
    if after <= before:
        do = "keep the store's data on a claim, and have it write every change (Redis: appendonly yes)"
        raise Broken(f"visit {before} was before the store was stopped, and the next was counted as {after}", do)
    return f"visit {before} before the store was stopped, {after} after"
