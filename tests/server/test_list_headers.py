"""Headers that are lists: empty members count for nothing (RFC 9110 §5.6.1.2), several fields are one list (§5.3), and
names are the same in any case. What is refused closes the connection."""

from collections.abc import Iterator

import pytest

from tests.probe import path_of
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("lists")) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[RawClient]:
    with RawClient(service.app_url) as somebody:
        yield somebody


def fields(name: str, *values: str) -> list[str]:
    return [f"{name}: {value}" for value in values]


@pytest.mark.parametrize(
    "values",
    [("chunked",), ("Chunked",), (",chunked",), ("chunked, ",), (" ,\t, chunked ,",), ("", "chunked"), ("chunked", "")],
)
def test_chunked_is_the_one_member_of_a_list(client: RawClient, values: tuple[str, ...]) -> None:
    for _ in range(2):  # so the end of the body was found
        client.send(head("PUT", path_of("a"), *fields("Transfer-Encoding", *values)) + b"5\r\nhello\r\n0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.json["size"]) == (201, 5)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (("chunked, chunked",), 400),
        (("chunked", "chunked"), 400),
        (("chunked,,chunked",), 501),
        (("chunked, gzip",), 400),
        (("gzip", "chunked"), 501),
        (("gzip, chunked",), 501),
        (("identity, chunked",), 501),
        (("identity,",), 501),
        (("",), 501),
        ((",",), 501),
        (("chunked;q=1",), 501),
        (("chunked\x0b",), 400),
        (("\xa0chunked",), 501),
        (('"chunked"',), 501),
        (("chunked, x",), 501),
    ],
)
def test_every_other_coding_is_refused_and_nothing_after_it_is_read(
    client: RawClient, values: tuple[str, ...], status: int
) -> None:
    """RFC 9112 §6.1, §6.3: where the body ends is not known."""
    coding = fields("Transfer-Encoding", *values)
    client.send(head("PUT", path_of("a"), *coding) + b"5\r\nhello\r\n0\r\n\r\n" + head("GET", "/api/instance"))
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert client.wait_for_close() == b""


@pytest.mark.parametrize("values", [("chunked",), (",chunked",), ("", "chunked,")])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_coding_beside_a_length_or_of_an_old_client_is_refused(
    client: RawClient, values: tuple[str, ...], version: str
) -> None:
    """RFC 9112 §6.1: they are faulty, or an attempt to be read differently by a proxy."""
    length = ["Content-Length: 5"] if version == "1.1" else []
    request = head("PUT", path_of("a"), *fields("Transfer-Encoding", *values), *length)
    client.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()) + b"0\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (400, "close")
    assert client.wait_for_close() == b""


@pytest.mark.parametrize(
    "values",
    [
        ("100-Continue",),
        (",100-continue",),
        ("100-continue, ",),
        ("100-continue, 100-CONTINUE",),
        ("", "100-continue"),
        ("100-continue", "100-continue"),
    ],
)
def test_a_body_is_asked_for_once_however_often_it_is_expected(client: RawClient, values: tuple[str, ...]) -> None:
    client.send(head("PUT", path_of("a"), "Content-Length: 5", *fields("Expect", *values)))
    assert client.answer().status == 100
    client.send(b"hello")
    assert client.answer().json == {"size": 5}


@pytest.mark.parametrize("values", [("",), (" , ",)])
def test_an_empty_list_expects_nothing(client: RawClient, values: tuple[str, ...]) -> None:
    client.send(head("PUT", path_of("a"), "Content-Length: 5", *fields("Expect", *values)))
    client.send(b"hello")
    assert client.answer().json == {"size": 5}


@pytest.mark.parametrize("values", [("100-continue, a-miracle",), ("100-continue", "a-miracle"), ("100-continue;q=1",)])
def test_another_expectation_beside_the_known_one_is_refused(client: RawClient, values: tuple[str, ...]) -> None:
    """RFC 9110 §10.1.1. Without a 100 before it: the body must not be sent."""
    client.send(head("PUT", path_of("a"), "Content-Length: 5", *fields("Expect", *values)))
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (417, "close")
    assert client.wait_for_close() == b""


@pytest.mark.parametrize("values", [("100-continue, 100-continue",), (",100-continue",)])
def test_an_old_client_s_expectations_are_passed_over(client: RawClient, values: tuple[str, ...]) -> None:
    request = head("PUT", path_of("a"), "Content-Length: 5", *fields("Expect", *values))
    client.send(request.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
    assert client.answer().json == {"size": 5}


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (("",), 201),
        (("identity,",), 201),
        (("Identity", ", identity"), 201),
        (("identity, gzip",), 415),
        (("identity", "gzip"), 415),
    ],
)
def test_only_a_body_without_a_coding_is_kept(client: RawClient, values: tuple[str, ...], status: int) -> None:
    client.send(head("PUT", path_of("a"), "Content-Length: 5", *fields("Content-Encoding", *values)) + b"hello")
    assert client.answer().status == status


@pytest.mark.parametrize(
    ("values", "media_type"),
    [
        (("text/html",), "text/html"),
        (("TEXT/HTML ; q=0.5 ,",), "text/html"),
        (("*/*", "text/html;q=0.9"), "application/problem+json"),
        (("text/html", "*/*;q=0.9"), "text/html"),
        (("text/html;q=0, */*",), "application/problem+json"),
        (("application/problem+json;q=0, application/json;q=0, */*",), "text/html"),
        (("text/html;Q=0",), "application/problem+json"),
        (("",), "application/problem+json"),
    ],
)
def test_an_error_has_the_type_that_is_wanted_most(client: RawClient, values: tuple[str, ...], media_type: str) -> None:
    """RFC 9110 §12.5.1: of several ranges, the most specific counts; a quality of 0 is a refusal."""
    client.send(head("GET", "/nowhere", *fields("Accept", *values)))
    assert client.answer().headers.get_content_type() == media_type


@pytest.mark.parametrize(
    ("values", "media_type"),
    [
        (("application/openmetrics-text",), "application/openmetrics-text"),
        (("Application/OpenMetrics-Text ; Version=1.0.0",), "application/openmetrics-text"),
        (("text/html", "application/openmetrics-text"), "application/openmetrics-text"),
        (("application/openmetrics-text;q=0, */*",), "text/plain"),
        (("application/openmetrics-text;q=0.1, text/plain;version=1.0.0",), "text/plain"),
        (("text/plain;version=1.0.0;q=0.1, application/openmetrics-text",), "application/openmetrics-text"),
    ],
)
def test_a_scrape_has_the_type_that_is_wanted_most(service: Service, values: tuple[str, ...], media_type: str) -> None:
    with RawClient(service.ops_url) as platform:
        platform.send(head("GET", "/metrics", *fields("Accept", *values)))
        assert platform.answer().headers.get_content_type() == media_type
