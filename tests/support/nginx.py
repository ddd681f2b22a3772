"""A real nginx before several instances, which passes on each request once and tells the client what came of it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.processes import free_port, require, running


@contextlib.contextmanager
def nginx(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """nginx before these ports of 127.0.0.1, in turn; its URL.

    It tries another instance only where none was reached. What was sent to one that died it answers with 502: whether
    that was done, only the client can find out.
    """
    port = free_port()
    servers = "\n".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    config = folder / "nginx.conf"
    config.write_text(f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
            uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            upstream instances {{ {servers} }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://instances; proxy_http_version 1.1; proxy_set_header Host $host;
                    proxy_set_header Connection ""; proxy_next_upstream error; proxy_connect_timeout 2s;
                }}
            }}
        }}
    """)
    program = require("nginx", "nginx")
    with running(
        [program, "-c", config, "-p", folder, "-e", folder / "nginx.log"], port=port, log=folder / "nginx.out"
    ):
        yield f"http://127.0.0.1:{port}"
