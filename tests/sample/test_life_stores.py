"""Files while sessions are out of reach."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.gcs import create_bucket, strict_gcs
from tests.support.processes import wait_until
from tests.support.product import Visitor, running_product
from tests.support.proxy import proxy
from tests.support.redis import redis_server


def test_a_file_that_is_stored_is_reported_so_though_sessions_are_out_of_reach_by_then(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path))
        sessions = stack.enter_context(proxy(redis.port))
        objects = stack.enter_context(strict_gcs(tmp_path))
        create_bucket(objects.url, "files")
        settings = {
            "SESSION_URL": f"redis://127.0.0.1:{sessions.port}",
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": objects.url,
        }
        service = stack.enter_context(running_product(tmp_path, settings))
        visitor = stack.enter_context(Visitor(service.app_url))
        assert visitor.put("kept", b"first").status == 201
        objects.clear()
        objects.fault("upload.multipart", "latency", seconds=2.0)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        answer = pool.submit(visitor.put, "kept", b"second")
        wait_until("the upload has reached the object store", lambda: "upload.multipart" in objects.calls)
        sessions.answer = b"-LOADING not yet\r\n"
        assert answer.result().status == 200
        service.wait_for(lambda record: "not in the account yet" in str(record["message"]))
        sessions.answer = b""
        wait_until("sessions are back", lambda: visitor.get("/api/files").status == 200)
        assert visitor.get("/api/files/kept").body == b"second"
