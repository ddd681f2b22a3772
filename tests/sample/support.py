"""What tests of the sample wait for."""

from tests.support.processes import wait_until
from tests.support.product import Visitor


def wait_for_account(visitor: Visitor, *, files: int, size: int) -> None:
    """Wait until the visitor's account says so."""

    def fits() -> bool:
        usage = visitor.get("/api/files").json["usage"]
        return (usage["files"], usage["bytes"]) == (files, size)

    wait_until(f"an account of {files} files and {size} bytes", fits)
