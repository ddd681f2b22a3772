"""Row 7: an image is named so that it can't change under its name."""

from conformance.check import Broken, NotRun, check
from conformance.cluster import containers, pods, where
from conformance.target import Target


@check("7", "Every image is named by its digest, and never `latest`.", needs=("cluster",))
def images_are_pinned(target: Target) -> str:
    seen = set()
    for pod in pods(target):
        for container in containers(pod):
            image = container["image"]
            name, _, digest = image.partition("@")
            if not digest:
                do = "name the digest, beside the tag if you like: a tag may be moved between two pods' starts"
                raise Broken(f"{where(pod, container)} runs {image}, which has no digest", do)
            if name.endswith(":latest"):
                raise Broken(f"{where(pod, container)} runs {image}", "name the version that the digest belongs to")
            seen.add(digest)
    if not seen:
        raise NotRun("there is no pod in this namespace")
    return f"{len(seen)} images, each by digest"


@check("7", "Pods of one template run one image.", needs=("cluster",))
def replicas_are_alike(target: Target) -> str:
    by_name: dict[tuple[str, str], set[str]] = {}
    for pod in pods(target):
        owners = pod["metadata"].get("ownerReferences") or ()
        template = pod["metadata"].get("labels", {}).get("pod-template-hash", "")
        for status in pod["status"].get("containerStatuses") or ():
            owner = owners[0]["name"] if owners else pod["metadata"]["name"]
            if status.get("imageID"):
                by_name.setdefault((f"{owner}{template}", status["name"]), set()).add(status["imageID"])
    for (owner, name), images in by_name.items():
        if len(images) > 1:
            saw = f"containers {name} of {owner} run {len(images)} different images: {', '.join(sorted(images))}"
            raise Broken(saw, "name the image by its digest: a tag has been moved between two pods' starts")
    return f"{len(by_name)} kinds of containers, each with one image"
