"""Broken twins: the service with one practice broken, in the smallest way, and the row that has to be red for it.

A twin is a module that replaces something and starts the service, or a setting, or another way to start it.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Twin:
    """``breaks`` is the check that it makes red; ``says``: the essence of the message. {folder}: its instance's own."""

    name: str
    breaks: str
    says: str
    module: str = "ours"
    settings: dict[str, str] = field(default_factory=dict)
    isolation: tuple[str, ...] = ()  # options of tests.support.isolated; as ours where there are none
    shell: str = ""  # what a shell runs instead of the command {command}
    low_port: bool = False

    @property
    def row(self) -> str:
        """The practice that it breaks."""
        return self.breaks.partition(".")[0]


TWINS = (
    Twin("log as format string", "1a.lines_are_json", "a format string does not escape", module="log_format_string"),
    Twin(
        "stack trace over many lines",
        "1a.stacks_are_fields",
        "a stack trace over many lines",
        module="stack_trace_lines",
    ),
    Twin(
        "files in each replica's folder",
        "2a.state_is_shared",
        "read through",
        settings={"STORAGE_URL": "file://{folder}"},
    ),
    Twin("sessions in memory", "2b.sessions_are_shared", "were counted [1, 1,", settings={"SESSION_URL": "memory://"}),
    Twin("writable root filesystem", "2d.root_is_read_only", "/ is mounted writable", isolation=("--writable",)),
    Twin(
        "secret in the log",
        "2e.visitors_secrets_are_not_logged",
        "what was sent in the Authorization header",
        module="secret_in_log",
    ),
    Twin(
        "workers without multiprocess mode",
        "4a.counts_are_right",
        "each worker process counts for itself",
        module="workers_without_multiprocess",
        settings={"WEB_CONCURRENCY": "3"},
    ),
    Twin(
        "unbounded label",
        "4a.labels_are_bounded",
        "the label 'http_route' holds what visitors send",
        module="unbounded_label",
    ),
    Twin(
        "dependency in liveness",
        "5a.liveness_asks_nobody",
        "with the session store stopped, liveness failed",
        module="store_in_liveness",
    ),
    Twin("readiness that can't fail", "5b.readiness_can_fail", "it said 200 for", module="readiness_cannot_fail"),
    Twin("root user", "6a.user_is_not_root", "runs with uid 0 (root)", isolation=("--user", "0")),
    Twin(
        "low port",
        "6c.ports_need_no_privilege",
        "which needs a privilege",
        isolation=("--capability", "net_bind_service"),
        low_port=True,
    ),
    Twin(
        "session fixation",
        "session.sign_in_changes_the_id",
        "the id is the same before and after",
        module="session_fixation",
    ),
    Twin(
        "cookie without HttpOnly", "session.cookie_is_http_only", "without HttpOnly", module="cookie_without_httponly"
    ),
    # As PID 1 a shell gets no signal that it has not asked for. The trap is the same for a shell that is not PID 1.
    Twin(
        "shell-form entry point",
        "stop.it_ends",
        "SIGTERM does not reach the service",
        shell="trap '' TERM; {command}; exit",
    ),
    Twin(
        "listener closed at once",
        "stop.requests_are_served",
        "the connection was refused",
        settings={"SHUTDOWN_DELAY": "0s"},
    ),
    Twin(
        "requests in flight cut off",
        "stop.requests_in_flight_finish",
        "that was being stored when the stop began",
        settings={"SHUTDOWN_GRACE": "0s"},
    ),
)
