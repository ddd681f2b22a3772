"""The practices by their row, as the README's table and the guide have them."""

ROWS = {
    "1a": "Log to stdout, one JSON record a line",
    "1b": "Collect logs of applications that only write files",
    "2a": "Keep no state: files in object storage",
    "2b": "Keep no state: sessions in a store that all instances share",
    "2c": "Keep state that must be local on a persistent disk",
    "2d": "Be immutable: nothing can be written in the container",
    "2e": "Keep secrets out of sight",
    "3a": "No privileged containers",
    "3b": "Change the host through init containers, not the application",
    "3c": "Let the cluster refuse what is privileged",
    "4a": "Be easy to monitor: metrics that are right",
    "4b": "Export metrics of applications that have none",
    "4c": "Collect metrics, alert on them",
    "5a": "Expose health: liveness",
    "5b": "Expose health: readiness",
    "6a": "Don't run as root",
    "6b": "Own external volumes without root",
    "6c": "Listen on a port that needs no privilege",
    "7": "Pin image versions",
    "session": "Sessions that can't be stolen",
    "stop": "Stop without losing a request",
}

# What no client can see: kubectl, or Prometheus in the cluster, is asked.
NEEDS_A_CLUSTER = ("2c", "3a", "3b", "3c", "4c", "6b", "7")

# What stands beside an application that can't be changed. A service that logs and counts itself has no such thing.
BESIDE = ("1b", "4b")
