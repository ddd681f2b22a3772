"""``python -m service``: read the settings, start the server.

Exit codes: 0 ended as asked, 1 a store can't be reached (``--check``) or a port can't be had, 2 the settings are wrong,
3 a store can't be set up with them (a file that holds no certificate, say).
"""

# ruff: noqa: E402 -- the signals come first: imports take a second, and a container may be told to end within it

import os
import signal


def _end(*_: object) -> None:
    """Before there is anything to finish. PID 1 would otherwise pass over SIGTERM, and Ctrl-C show a stack.

    At once: an exception could be raised where Python swallows it, as in the callbacks of imports.
    """
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from service import logs
from service.settings import Settings, SettingsError, load, misspelt, setting_fields

if TYPE_CHECKING:
    from service.sessions.store import SessionStore
    from service.storage.store import ObjectStore

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service, or what the options ask for. The exit code."""
    options = _parser().parse_args(arguments)
    logs.configure(log_format=os.environ.get("LOG_FORMAT", ""))
    logs.install_hooks()
    try:
        settings = load(os.environ)
    except SettingsError as error:
        for fault in error.faults:
            log.critical(fault)
        _warn()
        return 2
    logs.configure(settings)
    _warn()
    if options.check:
        return _check(settings)
    from service.server.application import CannotListen, serve  # noqa: PLC0415 -- not needed for what comes before

    try:
        serve(settings)
    except CannotListen as error:
        log.critical("%s", error)
        return 1
    return 0


def _warn() -> None:
    """Also where settings are missing: a misspelt name may be why."""
    for sentence in misspelt(os.environ):
        log.warning(sentence)


def _check(settings: Settings) -> int:
    """Reach the stores, and say of each how it went. The exit code."""
    from service import sessions, storage  # noqa: PLC0415 -- as above

    return max(_reach("sessions", sessions.open_store, settings), _reach("storage", storage.open_store, settings))


def _reach(name: str, open_store: "Callable[[Settings], SessionStore | ObjectStore]", settings: Settings) -> int:
    try:
        store = open_store(settings)
    except (ValueError, OSError) as error:
        log.error("%s can't be set up: %s", name, error)  # noqa: TRY400 -- the stack says nothing more
        return 3
    try:
        try:
            store.check()
        finally:
            store.close()
    except Exception as error:  # noqa: BLE001 -- whatever it is, the store can't serve
        log.error("%s can't serve: %s", name, error)  # noqa: TRY400 -- as above
        return 1
    log.info("%s can serve: %s", name, store.name)
    return 0


def _parser() -> argparse.ArgumentParser:
    rows = []
    for name, spec in setting_fields().items():
        default = spec.metadata["default"]
        shown = "must be set" if default is None else "" if callable(default) else default
        rows.append(f"  {name:30} {shown}")
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve visitors on PORT and the platform on OPS_PORT. Settings come from the environment and from "
        "the files in SETTINGS_DIR.",
        epilog="exit codes: 0 ended as asked; 1 a store can't be reached (--check) or a port can't be had;\n"
        "  2 the settings are wrong; 3 a store can't be set up with them\n\n"
        "settings and their defaults (their meaning is in docs/settings.md):\n" + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="read the settings, reach the stores, and exit")
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _version() -> str:
    default = setting_fields()["VERSION"].metadata["default"]
    return f"seatrial {os.environ.get('VERSION') or default()}"


if __name__ == "__main__":
    sys.exit(main())
