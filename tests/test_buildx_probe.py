"""What a node answers when it is asked by hand: it is down, or one side refuses the other's certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from buildmatrix.buildx import probe


def _issue(folder: Path, authority: trustme.CA, name: str) -> dict[str, Path]:
    made = authority.issue_cert("127.0.0.1", common_name=name)
    paths = {part: folder / f"{name}-{part}.pem" for part in ("cert", "key", "cacert")}
    paths["cert"].write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["cacert"]))
    return paths


@contextlib.contextmanager
def node(server: dict[str, Path], clients: Path, says: bytes = b"\0\0\0\4\0\0\0\0\0") -> Iterator[str]:
    """A server that wants certificates of one authority, and begins to speak as HTTP/2 servers do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server["cert"], server["key"])
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as plain:
            plain.settimeout(5)
            with context.wrap_socket(plain, server_side=True) as wrapped:
                wrapped.sendall(says)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()
        listener.close()


def test_certificates_of_one_authority_are_accepted(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = (_issue(tmp_path, authority, name) for name in ("server", "client"))
    with node(server, server["cacert"]) as endpoint:
        assert probe.ask(endpoint, client) == probe.Answer(words="inactive")


def test_a_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, other = trustme.CA(), trustme.CA()
    server, stranger = _issue(tmp_path, ours, "server"), _issue(tmp_path, other, "stranger")
    with node(server, server["cacert"]) as endpoint:
        answer = probe.ask(endpoint, {**stranger, "cacert": server["cacert"]})
    assert answer.refused and "it refuses our certificate" in answer.words and "unknown ca" in answer.words


def test_a_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    server = _issue(tmp_path, trustme.CA(), "server")
    with node(server, server["cacert"]) as endpoint:
        answer = probe.ask(endpoint, {"cacert": server["cacert"]})
    assert answer.refused and "certificate required" in answer.words


def test_a_server_of_another_authority_or_name_is_not_accepted(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = (_issue(tmp_path, authority, name) for name in ("server", "client"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    for files, name in (({**client, "cacert": tmp_path / "other.pem"}, ""), (client, "build.example")):
        with node(server, server["cacert"]) as endpoint:
            answer = probe.ask(endpoint, files, name)
        assert answer.refused and "its certificate is not accepted" in answer.words


def test_a_node_that_is_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = probe.ask(f"tcp://127.0.0.1:{port}", {})
    assert answer == probe.Answer(words="nothing answers there: Connection refused")
    answer = probe.ask(f"unix://{tmp_path}/none.sock", {})
    assert answer == probe.Answer(words="nothing answers there: No such file or directory")


@pytest.mark.parametrize("says", [b""])
def test_a_node_that_closes_the_connection(tmp_path: Path, says: bytes) -> None:
    authority = trustme.CA()
    server, client = (_issue(tmp_path, authority, name) for name in ("server", "client"))
    with node(server, server["cacert"], says) as endpoint:
        assert probe.ask(endpoint, client).words == "it closes the connection"
