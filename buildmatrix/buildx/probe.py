"""Why a node does not answer: buildx says no more than that it is inactive, so the node is asked once by hand.

A node that is down and one that refuses a certificate look the same to whoever waits for a build, and are mended
in different places.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a node answered, in words; `refused` where the two do not accept each other's certificates."""

    words: str
    refused: bool = False


def ask(endpoint: str, files: Mapping[str, Path], servername: str = "", seconds: float = _SECONDS) -> Answer:
    """Connect to a node, with the certificates in `files` (cacert, cert, key) where there are any."""
    where = urlsplit(endpoint)
    try:
        with _connected(endpoint, seconds) as plain:
            return _shaken(plain, files, servername or where.hostname or "") if files else Answer(words="inactive")
    except ssl.SSLCertVerificationError as error:
        return Answer(words=f"its certificate is not accepted: {error.verify_message}", refused=True)
    except ssl.SSLError as error:
        return Answer(words=f"it refuses our certificate: {_reason(error)}", refused=True)
    except OSError as error:
        return Answer(words=f"nothing answers there: {error.strerror or error}")


def _connected(endpoint: str, seconds: float) -> socket.socket:
    where = urlsplit(endpoint)
    if where.scheme != "unix":
        return socket.create_connection((where.hostname or "", where.port or 0), seconds)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plain.settimeout(seconds)
    try:
        plain.connect(where.path)
    except BaseException:
        plain.close()
        raise
    return plain


def _shaken(plain: socket.socket, files: Mapping[str, Path], name: str) -> Answer:
    context = ssl.create_default_context(cafile=str(files["cacert"]) if "cacert" in files else None)
    context.set_alpn_protocols(["h2"])
    if "cert" in files and "key" in files:
        context.load_cert_chain(files["cert"], files["key"])
    with context.wrap_socket(plain, server_hostname=name) as wrapped:
        # TLS 1.3 servers look at our certificate only after our side of the handshake is over (RFC 8446, 4.4.2);
        # one that accepts it begins to speak HTTP/2 (RFC 9113, 3.4).
        first = wrapped.recv(1)
        return Answer(words="inactive" if first else "it closes the connection")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
