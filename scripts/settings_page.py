"""Write docs/settings.md from the code, or with ``--check`` say whether it is stale (exit 1)."""

import sys
from pathlib import Path

from service import feature_settings
from service.settings import setting_fields

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

HEAD = """# Settings

Made from `service/settings.py`, and `settings.py` of the features, by `make docs`; don't edit it here.

Settings come from the environment, and from the files of the folder that `SETTINGS_DIR` names: one file a setting, its
name the setting's, as Kubernetes mounts a Secret. The environment wins. An empty value counts as unset. Every error
is named at once, as a JSON record on stdout, and the process exits with 2 before it listens.

Durations are written like `250ms`, `5s`, `10m`, `2h` or `7d`, sizes like `16KiB`, `8MiB` or `1GiB`. A secret never
appears in a log or an error; give it as a file.

`python -m service --check` reads the settings, reaches the stores, says what it found, and exits.

| setting | default | meaning |
| --- | --- | --- |
"""


def page() -> str:
    """The whole page as Markdown."""
    rows = []
    for name, spec in setting_fields(*feature_settings()).items():
        default = spec.metadata["default"]
        shown = (
            "must be set"
            if default is None
            else "see right"
            if callable(default)
            else f"`{default}`"
            if default
            else ""
        )
        secret = " **Secret.**" if spec.metadata["secret"] else ""
        rows.append(f"| `{name}` | {shown} | {spec.metadata['doc']}{secret} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    """Exit code 0, or 1 when ``--check`` finds the page stale."""
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == page():
            return 0
        print("docs/settings.md is stale: run 'make docs'")
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
