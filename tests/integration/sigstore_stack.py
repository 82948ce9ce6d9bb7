"""A private sigstore: real Fulcio, TesseraCT, rekor-tiles and timestamp-server, and a small OIDC issuer.

None of them needs a database: Fulcio's authority is ephemeral, both logs keep their tiles in a folder.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import load_pem_x509_certificates
from jwt.algorithms import ECAlgorithm

from buildmatrix.signing import certificates, strict
from tests.integration.services import free_port
from tests.integration.tools import go_tool

STARTUP = 60.0
TOOLS = {
    "fulcio": ("github.com/sigstore/fulcio", "v1.8.8"),
    "tesseract": ("github.com/transparency-dev/tesseract/cmd/tesseract/posix", "v0.1.1"),
    "rekor-tiles": ("github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix", "v2.3.0"),
    "timestamp-server": ("github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server", "v2.1.2"),
}
_CONFIG = """\
oidc-issuers:
  {url}:
    issuer-url: {url}
    client-id: sigstore
    type: email
    contact: nobody
    description: test
"""
ALWAYS = {"start": "2020-01-01T00:00:00Z"}


@dataclass
class Issuer:
    """An OIDC issuer: discovery, keys, and tokens for whoever asks in this process."""

    port: int = field(default_factory=free_port)
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, email: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": email, "aud": "sigstore", "email": email, "email_verified": True,
                  "iat": now, "exp": now + 600}  # fmt: skip
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": "one"})

    def answer(self, path: str) -> dict[str, Any] | None:
        key = json.loads(ECAlgorithm.to_jwk(self.private.public_key()))
        answers: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
            "/keys": {"keys": [{**key, "kid": "one", "use": "sig", "alg": "ES256"}]},
        }
        return answers.get(path)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                value = issuer.answer(self.path)
                body = json.dumps(value).encode()
                self.send_response(200 if value is not None else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where everything is; `trusted_root` is a trusted_root.json for all of it."""

    issuer: Issuer
    fulcio: str
    rekor: str
    stamps: str
    trusted_root: bytes


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Start all services; they end with the block."""
    issuer = Issuer()
    log_keys = {
        "ct": _key(folder / "ct.pem", PrivateFormat.TraditionalOpenSSL),
        "rekor": _key(folder / "rekor.pem", PrivateFormat.PKCS8),
    }
    ports = {name: free_port() for name in ("fulcio", "grpc", "metrics", "ct", "rekor", "rekor-grpc", "rekor-metrics",
                                            "stamps")}  # fmt: skip
    (folder / "fulcio.yaml").write_text(_CONFIG.format(url=issuer.url))
    address = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(issuer.running())
        stack.enter_context(
            _serve(folder, "fulcio", f"{address['fulcio']}/api/v2/trustBundle", "serve", "--ca=ephemeralca",
                   f"--config-path={folder}/fulcio.yaml", f"--ct-log-url={address['ct']}", "--host=127.0.0.1",
                   f"--port={ports['fulcio']}", "--grpc-host=127.0.0.1", f"--grpc-port={ports['grpc']}",
                   f"--metrics-port={ports['metrics']}", f"--legacy-unix-domain-socket=@{folder.name}-{ports['grpc']}")
        )  # fmt: skip
        chain = _get(f"{address['fulcio']}/api/v2/trustBundle")["chains"][0]["certificates"]
        (folder / "roots.pem").write_text("".join(chain))
        stack.enter_context(
            _serve(folder, "tesseract", f"{address['ct']}/ct/v1/get-roots", f"--private_key={folder}/ct.pem",
                   "--origin=localhost", f"--http_endpoint=127.0.0.1:{ports['ct']}",
                   f"--storage_dir={folder}/ct", f"--roots_pem_file={folder}/roots.pem")
        )  # fmt: skip
        stack.enter_context(
            _serve(folder, "timestamp-server", f"{address['stamps']}/api/v1/timestamp/certchain", "serve",
                   "--host=127.0.0.1", f"--port={ports['stamps']}", "--timestamp-signer=memory",
                   "--disable-ntp-monitoring")
        )  # fmt: skip
        stack.enter_context(
            _serve(folder, "rekor-tiles", f"{address['rekor']}/healthz", "serve",
                   f"--signer-filepath={folder}/rekor.pem", f"--storage-dir={folder}/rekor",
                   "--hostname=127.0.0.1", f"--http-port={ports['rekor']}",
                   f"--grpc-port={ports['rekor-grpc']}", f"--http-metrics-port={ports['rekor-metrics']}",
                   "--checkpoint-interval=1s")
        )  # fmt: skip
        with urllib.request.urlopen(f"{address['stamps']}/api/v1/timestamp/certchain") as answer:
            stamp_chain = answer.read()
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [_authority("".join(chain).encode(), address["fulcio"])],
            "timestampAuthorities": [_authority(stamp_chain, address["stamps"])],
            "tlogs": [_log(address["rekor"], log_keys["rekor"])],
            "ctlogs": [_log(address["ct"], log_keys["ct"])],
        }
        yield Stack(issuer=issuer, fulcio=address["fulcio"], rekor=address["rekor"],
                    stamps=f"{address['stamps']}/api/v1/timestamp", trusted_root=json.dumps(root).encode())  # fmt: skip


def _key(path: Path, form: PrivateFormat) -> bytes:
    """A new key in a PEM file; gives the DER of its public half."""
    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(private.private_bytes(Encoding.PEM, form, NoEncryption()))
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextlib.contextmanager
def _serve(folder: Path, name: str, url: str, *arguments: str) -> Iterator[None]:
    program = go_tool(name, *TOOLS[name])
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([str(program), *arguments], cwd=folder, stdout=stream, stderr=stream)
        try:
            _wait(url, process, log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=STARTUP)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTUP
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url}: no answer within {STARTUP:g} s\n{log.read_text()}")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def _authority(pem: bytes, url: str) -> dict[str, Any]:
    chain = [{"rawBytes": strict.to_base64(certificates.der(item))} for item in load_pem_x509_certificates(pem)]
    return {"subject": {"organization": "test", "commonName": "test"}, "uri": url,
            "certChain": {"certificates": chain}, "validFor": ALWAYS}  # fmt: skip


def _log(url: str, der: bytes) -> dict[str, Any]:
    import hashlib

    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": strict.to_base64(der),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": ALWAYS,
        },
        "logId": {"keyId": strict.to_base64(hashlib.sha256(der).digest())},
    }
