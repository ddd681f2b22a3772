"""Run the server: ``python -m tests.support.gcs_server --port 0`` prints its URL on the first line. SIGTERM ends it."""

import argparse
import signal
import sys
import tempfile

from tests.support.gcs_server.server import GcsServer


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.support.gcs_server", description="A strict Google Cloud Storage for tests"
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="the disk for large bodies")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with GcsServer(options.port, options.folder) as server:
        print(server.url, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
