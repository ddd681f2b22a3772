"""Row 2d: what runs is what was built, because nothing can write there."""

from conformance.check import Broken, check
from conformance.inside import VIRTUAL, mounts, writable_folders
from conformance.target import Target

DO = (
    "set readOnlyRootFilesystem: true (docker run --read-only), and mount an emptyDir or a tmpfs where it must write; "
    "name volumes that are meant to be written in --writable"
)


@check("2d", "The root filesystem is mounted read-only.", needs=("inside",))
def root_is_read_only(target: Target) -> str:
    for instance in target.instances:
        root = next((mount for mount in mounts(target, instance) if mount.point == "/"), None)
        if root is not None and not root.is_read_only:
            raise Broken(f"instance {instance.number}: / is mounted writable ({root.kind})", DO)
    return "/ is read-only"


@check("2d", "The service can write nowhere but in memory.", needs=("inside",))
def nothing_can_be_written(target: Target) -> str:
    for instance in target.instances:
        lasting = [m for m in mounts(target, instance) if m.kind not in VIRTUAL and not _is_meant(target, m.point)]
        folders = writable_folders(target, instance, lasting)
        if folders:
            shown = ", ".join(folders[:3])
            more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
            raise Broken(f"instance {instance.number}: its own user may write to {shown}{more}", DO)
    return "no folder outside of memory lets the service's user write"


def _is_meant(target: Target, point: str) -> bool:
    return any(point == path or point.startswith(f"{path.rstrip('/')}/") for path in target.writable)
