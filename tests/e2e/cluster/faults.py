"""A pod that keeps every rule, and the many ways to break one: each a single change, with who refuses it and why."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.manifests.render import Object

# Nothing here is ever pulled: the objects are created by dry runs, or never scheduled.
IMAGE = "registry.example/team/app:1.4@sha256:" + "0" * 64
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}}
PROBE = {"httpGet": {"path": "/health", "port": 9090}}


def container(name: str, **fields: Any) -> Object:
    """A container that keeps every rule, but for probes."""
    return {
        "name": name,
        "image": IMAGE,
        "securityContext": copy.deepcopy(CONFINED),
        "resources": copy.deepcopy(RESOURCES),
        **fields,
    }


def good_spec() -> Object:
    """The spec of a pod that keeps every rule: an init container, a native sidecar, and the application."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            container("init", env=[]),
            container("sidecar", restartPolicy="Always", livenessProbe=PROBE),
        ],
        "containers": [container("app", livenessProbe=PROBE, readinessProbe=PROBE, ports=[{"containerPort": 8080}])],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}],
    }


def workload(kind: str, spec: Object) -> Object:
    """An object of a kind whose pods have this spec."""
    named = {"name": "tried"}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": kind, "metadata": named, "spec": spec}
    labels = {"app": "tried"}
    template: Object = {"metadata": {"labels": labels}, "spec": spec}
    if kind in {"Job", "CronJob"}:
        job: Object = {"template": template | {"spec": spec | {"restartPolicy": "Never"}}}
        body: Object = job if kind == "Job" else {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}
        return {"apiVersion": "batch/v1", "kind": kind, "metadata": named, "spec": body}
    body = {"selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        body["serviceName"] = "tried"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": named, "spec": body}


def config_map(**fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tried"}, **fields}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a pod: which policy refuses it, and in which words.

    ``pod_security`` are words of Pod Security's own refusal, where it is one of its rules as well. ``policy`` is empty
    where it is the only one.
    """

    name: str
    change: Callable[[Object], object]
    policy: str
    says: str
    pod_security: str = ""

    @property
    def spec(self) -> Object:
        broken = good_spec()
        self.change(broken)
        return broken


def of(where: str, name: str, **fields: Any) -> Callable[[Object], object]:
    """Give a container (by its place in the pod and its name) other fields; None takes one away."""

    def change(spec: Object) -> None:
        found = next(each for each in spec[where] if each["name"] == name)
        found |= fields
        for key in [key for key, value in fields.items() if value is None]:
            del found[key]

    return change


def app(**fields: Any) -> Callable[[Object], object]:
    return of("containers", "app", **fields)


def init(**fields: Any) -> Callable[[Object], object]:
    return of("initContainers", "init", **fields)


def sidecar(**fields: Any) -> Callable[[Object], object]:
    return of("initContainers", "sidecar", **fields)


def confined(**fields: Any) -> Object:
    """A security context that differs from the good one; None takes a field away."""
    return {key: value for key, value in (CONFINED | fields).items() if value is not None}


def pod(**fields: Any) -> Callable[[Object], object]:
    """Give the pod other fields."""
    return lambda spec: spec.update(fields)


def context(**fields: Any) -> Callable[[Object], object]:
    """Give the pod's security context other fields."""
    return lambda spec: spec["securityContext"].update(fields)


def volume(**kind: Any) -> Callable[[Object], object]:
    return lambda spec: spec["volumes"].append({"name": "more", **kind})


def env(name: str, value: str) -> Callable[[Object], object]:
    return app(env=[{"name": name, "value": value}])


# None of these opens anything: they have the form, and words that say so. In parts, so that scanners don't find them.
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nnot a key\n-----END RSA PRIVATE KEY-----\n"
URL = "redis://:" + "not-a-password@redis:6379/0"
AWS = "AKIA" + "NOTAKEYNOTAKEY00"
GOOGLE = "AIza" + "not-a-key" * 3 + "not-a-ke"
GITHUB = "ghp_" + "notatoken" * 4
JWT = "eyJ" + "hbGciOiJub25lIn0" + ".eyJ" + "zdWIiOiJub2JvZHkifQ" + ".none"

HEX = "@sha256:" + "0" * 64

FAULTS = [
    # Images
    Fault("latest", app(image="app:latest"), "image", "latest says nothing about what runs (app)"),
    Fault("latest-by-digest", app(image="app:latest" + HEX), "image", "latest says nothing about what runs (app)"),
    Fault("no-tag-no-digest", app(image="registry.example/app"), "image", "image without a digest (app)"),
    Fault("tag-only", app(image="registry.example:5000/app:1.4"), "image", "image without a digest (app)"),
    Fault("digest-only", app(image="registry.example/app" + HEX), "image", "image without a tag (app)"),
    Fault("port-is-no-tag", app(image="registry.example:5000/app" + HEX), "image", "image without a tag (app)"),
    Fault("short-digest", app(image="app:1.4@sha256:0000"), "image", "image without a digest (app)"),
    Fault("init-by-tag", init(image="app:1.4"), "image", "image without a digest (init)"),
    Fault("sidecar-by-tag", sidecar(image="app:1.4"), "image", "image without a digest (sidecar)"),
    # Rights
    Fault(
        "privileged",
        app(securityContext=confined(privileged=True, allowPrivilegeEscalation=None)),
        "privileged",
        "privileged container (app): drop privileged",
        "privileged (container",
    ),
    Fault(
        "init-privileged",
        init(securityContext=confined(privileged=True, allowPrivilegeEscalation=None)),
        "privileged",
        "privileged container (init)",
        "privileged (container",
    ),
    Fault(
        "escalation",
        app(securityContext=confined(allowPrivilegeEscalation=True)),
        "privileged",
        "could gain rights by setuid (app): set securityContext.allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation != false",
    ),
    Fault(
        "escalation-unsaid",
        sidecar(securityContext=confined(allowPrivilegeEscalation=None)),
        "privileged",
        "could gain rights by setuid (sidecar)",
        "allowPrivilegeEscalation != false",
    ),
    # The host's namespaces
    Fault("host-network", pod(hostNetwork=True), "host-namespaces", "remove hostNetwork", "host namespaces"),
    Fault("host-pid", pod(hostPID=True), "host-namespaces", "remove hostPID", "host namespaces"),
    Fault("host-ipc", pod(hostIPC=True), "host-namespaces", "remove hostIPC", "host namespaces"),
    Fault(
        "host-port",
        app(ports=[{"containerPort": 8080, "hostPort": 80}]),
        "host-namespaces",
        "a port of the host is taken (app): remove hostPort",
        "hostPort (container",
    ),
    # The host's files
    Fault(
        "host-path",
        volume(hostPath={"path": "/var/log"}),
        "host-path",
        "volume of the host (more): take an emptyDir",
        'restricted volume type "hostPath"',
    ),
    Fault(
        "engine-socket",
        volume(hostPath={"path": "/run/containerd/containerd.sock", "type": "Socket"}),
        "host-path",
        "volume of the host (more)",
        'restricted volume type "hostPath"',
    ),
    # Capabilities
    *(
        Fault(
            f"capability-{name.lower()}",
            app(securityContext=confined(capabilities={"drop": ["ALL"], "add": [name]})),
            "capabilities",
            "capability that is not on the list (app): do without, or add none but NET_BIND_SERVICE",
            "unrestricted capabilities",
        )
        for name in ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "CHOWN", "ALL")
    ),
    Fault(
        "init-capability",
        init(securityContext=confined(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_PTRACE"]})),
        "capabilities",
        "capability that is not on the list (init)",
        "unrestricted capabilities",
    ),
    Fault(
        "capabilities-kept",
        app(securityContext=confined(capabilities=None)),
        "capabilities",
        "capabilities are kept (app): set securityContext.capabilities.drop: [ALL]",
        "unrestricted capabilities",
    ),
    Fault(
        "capabilities-half-dropped",
        app(securityContext=confined(capabilities={"drop": ["NET_RAW", "MKNOD"]})),
        "capabilities",
        "capabilities are kept (app)",
        "unrestricted capabilities",
    ),
    # Root
    Fault("root-unsaid", context(runAsNonRoot=None), "root", "may run as root (app, init, sidecar)", "runAsNonRoot"),
    Fault(
        "root-allowed",
        app(securityContext=confined(runAsNonRoot=False)),
        "root",
        "may run as root (app): set securityContext.runAsNonRoot: true",
        "runAsNonRoot",
    ),
    Fault("pod-of-root", context(runAsUser=0), "root", "runs as root (app, init, sidecar): set", "runAsUser=0"),
    Fault(
        "init-as-root",
        init(securityContext=confined(runAsUser=0)),
        "root",
        "runs as root (init): set securityContext.runAsUser",
        "runAsUser=0",
    ),
    # The service account's token
    Fault("token", pod(automountServiceAccountToken=True), "token", "set automountServiceAccountToken: false"),
    Fault("token-unsaid", pod(automountServiceAccountToken=None), "token", "set automountServiceAccountToken: false"),
    # Resources
    Fault("no-resources", app(resources=None), "resources", "no limit of memory (app): measure it"),
    Fault(
        "no-memory-limit",
        app(resources={"requests": RESOURCES["requests"], "limits": {"cpu": "1"}}),
        "resources",
        "no limit of memory (app)",
    ),
    Fault(
        "no-cpu-request",
        app(resources={"limits": {"memory": "16Mi"}}),
        "resources",
        "requests are missing (app): measure",
    ),
    Fault("init-without-resources", init(resources=None), "resources", "no limit of memory (init)"),
    Fault("sidecar-without-resources", sidecar(resources=None), "resources", "no limit of memory (sidecar)"),
    # Probes
    Fault("no-readiness", app(readinessProbe=None), "probes", "no readinessProbe (app): ask a path"),
    Fault("no-liveness", app(livenessProbe=None), "probes", "no livenessProbe (app): ask a path"),
    Fault("sidecar-without-liveness", sidecar(livenessProbe=None), "probes", "no livenessProbe (sidecar)"),
    Fault(
        "second-container-without-probes",
        lambda spec: spec["containers"].append(container("second")),
        "probes",
        "no readinessProbe (second)",
    ),
    # Secrets
    Fault("env-password", env("DB_PASSWORD", "x"), "secret-in-env", "a secret by its name (container app): put it"),
    Fault("env-key", env("API_KEY", "x"), "secret-in-env", "a secret by its name (container app)"),
    Fault("env-camel", env("clientSecret", "x"), "secret-in-env", "a secret by its name (container app)"),
    Fault(
        "env-of-init",
        init(env=[{"name": "DEPLOY_TOKEN", "value": "x"}]),
        "secret-in-env",
        "a secret by its name (container init)",
    ),
    Fault(
        "env-from-config-map",
        app(env=[{"name": "DB_PASSWORD", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]),
        "secret-in-env",
        "a secret by its name (container app)",
    ),
    Fault("env-pem", env("TLS", PEM), "secret-in-env", "a private key (container app)"),
    Fault("env-url", env("SESSION_URL", URL), "secret-in-env", "a URL with a password (container app)"),
    Fault("env-aws", env("WHO", AWS), "secret-in-env", "an AWS access key (container app)"),
    Fault("env-google", env("MAPS", GOOGLE), "secret-in-env", "a Google API key (container app)"),
    Fault("env-github", env("CI", GITHUB), "secret-in-env", "a GitHub token (container app)"),
    Fault("env-jwt", env("AUTH", f"Bearer {JWT}"), "secret-in-env", "a signed token (JWT) (container app)"),
    Fault("args-url", app(args=["--store", URL]), "secret-in-env", "a URL with a password (container app)"),
    Fault("command-jwt", app(command=["app", JWT]), "secret-in-env", "a signed token (JWT) (container app)"),
    # Pod Security alone
    Fault("no-seccomp", context(seccompProfile=None), "", "", "seccompProfile"),
    Fault("seccomp-off", context(seccompProfile={"type": "Unconfined"}), "", "", "seccompProfile"),
    Fault("app-armor-off", context(appArmorProfile={"type": "Unconfined"}), "", "", "AppArmor"),
    Fault("selinux", context(seLinuxOptions={"type": "spc_t"}), "", "", "seLinuxOptions"),
    Fault("unsafe-sysctl", context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]), "", "", "forbidden sysctls"),
    Fault("volume-kind", volume(nfs={"server": "nfs", "path": "/"}), "", "", "restricted volume types"),
    Fault(
        "probe-elsewhere",
        app(livenessProbe={"httpGet": {"path": "/", "port": 80, "host": "169.254.169.254"}}),
        "",
        "",
        "host",
    ),
]

MAP_FAULTS = [
    # Images
    ("key-password", config_map(data={"password": "x"}), "a secret by its name (key password): put it into a Secret"),
    ("key-dashed", config_map(data={"a": "b", "redis-passwd": "x"}), "a secret by its name (key redis-passwd)"),
    ("key-of-an-api", config_map(data={"STRIPE_API_KEY": "x"}), "a secret by its name (key STRIPE_API_KEY)"),
    ("key-of-bytes", config_map(binaryData={"signing.key": "eA=="}), "a secret by its name (key signing.key)"),
    ("pem", config_map(data={"tls.conf": "cert\n" + PEM}), "a private key (key tls.conf)"),
    ("url", config_map(data={"settings.ini": f"url={URL}\n"}), "a URL with a password (key settings.ini)"),
    ("aws", config_map(data={"a": "b", "c": f"id: {AWS}"}), "an AWS access key (key c)"),
    ("google", config_map(data={"page.js": f"key='{GOOGLE}'"}), "a Google API key (key page.js)"),
    ("github", config_map(data={".netrc": f"login x {GITHUB}"}), "a GitHub token (key .netrc)"),
    ("jwt", config_map(data={"header": f"Authorization: Bearer {JWT}"}), "a signed token (JWT) (key header)"),
]
