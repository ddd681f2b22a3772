"""Forms as browsers send them (RFC 7578)."""

BOUNDARY = "----boundary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def part(name: str, content: bytes, *, filename: str | None = None, content_type: str = "") -> bytes:
    """A part of a form: a field, or a file where it has a name."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\nContent-Type: {content_type}" if content_type else ""
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """The form of these parts."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
