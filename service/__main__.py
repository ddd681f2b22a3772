"""``python -m service``: read the settings, start the server.

Exit codes: 0 ended as asked, 1 a store can't be reached (``--check``) or a port can't be used, 2 the settings are
wrong or can't be imported, 3 a store can't be set up with them (because a file holds no certificate, for example).
"""

# ruff: noqa: E402 -- the signals come first: imports take a second, and SIGTERM may come within it

import os
import signal


def _end(*_: object) -> None:
    """End before there is anything to finish. PID 1 would otherwise ignore SIGTERM, and Ctrl-C show a stack.

    Not by an exception: Python swallows some, as in the callbacks of imports.
    """
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)

import argparse
import logging
import sys
from collections.abc import Sequence

from service import feature_settings, logs
from service.dependencies import DEPENDENCIES, Dependency
from service.name import NAME
from service.settings import Settings, SettingsError, load, misspelt, setting_fields

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service, or what the options ask for. The exit code."""
    try:
        features = feature_settings()
    except Exception:
        logs.configure(log_format=os.environ.get("LOG_FORMAT", ""))
        log.critical("a feature's settings can't be imported", exc_info=True)
        return 2
    options = _parser(features).parse_args(arguments)
    logs.configure(log_format=os.environ.get("LOG_FORMAT", ""))
    logs.install_hooks()
    settings = None
    try:
        settings = load(os.environ, *features, dependencies=DEPENDENCIES)
        logs.configure(settings)
    except SettingsError as error:
        for sentence in error.errors:
            log.critical(sentence)
    for sentence in misspelt(os.environ, *features):  # a misspelt name may be why a setting is missing
        log.warning(sentence)
    if settings is None:
        return 2
    if options.check:
        return max(_reach(name, dependency, settings) for name, dependency in DEPENDENCIES.items())
    from service.server.application import CannotListen, serve  # noqa: PLC0415 -- not needed for what comes before

    try:
        serve(settings)
    except CannotListen as error:
        log.critical("%s", error)
        return 1
    return 0


def _reach(name: str, dependency: Dependency, settings: Settings) -> int:
    """Reach a dependency, and log whether it can serve. The exit code."""
    try:
        client = dependency.open(settings)
    except (ValueError, OSError) as error:
        log.error("%s can't be set up: %s", name, error)  # noqa: TRY400 -- the stack says nothing more
        return 3
    try:
        try:
            client.check()
        finally:
            client.close()
    except Exception as error:  # noqa: BLE001 -- any exception means that it can't serve
        log.error("%s can't serve: %s", name, error)  # noqa: TRY400 -- as above
        return 1
    log.info("%s can serve: %s", name, client.name)
    return 0


def _parser(features: Sequence[type]) -> argparse.ArgumentParser:
    rows = []
    for name, spec in setting_fields(*features).items():
        default = spec.metadata["default"]
        shown = "must be set" if default is None else "" if callable(default) else default
        rows.append(f"  {name:30} {shown}")
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve visitors on PORT and the platform on OPS_PORT. Settings come from the environment and from "
        "the files in SETTINGS_DIR.",
        epilog="exit codes: 0 ended as asked; 1 a store can't be reached (--check) or a port can't be used;\n"
        "  2 the settings are wrong; 3 a store can't be set up with them\n\n"
        "settings and their defaults (their meaning is in docs/settings.md):\n" + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="read the settings, reach the stores, and exit")
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _version() -> str:
    default = setting_fields()["VERSION"].metadata["default"]
    return f"{NAME} {os.environ.get('VERSION') or default()}"


if __name__ == "__main__":
    sys.exit(main())
