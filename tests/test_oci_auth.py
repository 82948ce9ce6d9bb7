"""Tokens, passwords, helpers and certificates: who gets what, and who does not."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from buildmatrix.errors import RegistryDenied, RegistryFailed, RegistryUnreachable, ToolMissing, UsageError
from buildmatrix.oci import content, credentials, transport
from buildmatrix.oci.auth import Auth, challenges
from buildmatrix.oci.credentials import Anonymous, Credentials, DockerConfig
from buildmatrix.oci.http import Access, Answer, Call
from buildmatrix.oci.registry import Registry
from buildmatrix.process import Completed, SubprocessRunner
from tests import oci_images
from tests.registry_server import RegistryServer

QUICK = Access(chunk=4096, monolithic=8192, backoff=0.001, attempts=3)
USER = Credentials(username="user", password="secret")  # noqa: S106


class Known:
    def __init__(self, found: Credentials) -> None:
        self.found = found
        self.asked: list[str] = []

    def find(self, registry: str) -> Credentials:
        self.asked.append(registry)
        return self.found


# Challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"'],
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})]),
        (['Basic realm="a, \\"b\\" = c"'], [("basic", {"realm": 'a, "b" = c'})]),
        (['BASIC realm=x, Bearer realm = "y", error="z"'],
         [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "error": "z"})]),
        (["Negotiate", 'bearer REALM="y"'], [("negotiate", {}), ("bearer", {"realm": "y"})]),
        ([""], []),
        (['realm="x"'], []),
    ],
)  # fmt: skip
def test_challenges(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(item.scheme, dict(item.parameters)) for item in challenges(headers)] == expected


# Tokens


def test_a_token_is_fetched_for_what_it_is_needed_for() -> None:
    with (
        RegistryServer(login="bearer") as server,
        Registry(server.host, access=QUICK, credentials=Known(USER)) as registry,
    ):
        repository = registry.repository("team/app")
        oci_images.image(repository, tag="v1")
        repository.manifest("v1")
        repository.manifest("v1")
        tokens = server.requests("GET", "/token")
        assert [request.query["scope"] for request in tokens] == [
            ["repository:team/app:pull"],
            ["repository:team/app:pull,push"],
        ]
        assert all(request.one("service") == 'a, "service"' for request in tokens)


def test_one_look_up_for_many_requests() -> None:
    known = Known(USER)
    with RegistryServer(login="bearer") as server, Registry(server.host, access=QUICK, credentials=known) as registry:
        oci_images.image(registry.repository("team/app"))
        assert known.asked == [server.host]


def test_a_token_is_renewed_before_it_ends() -> None:
    with (
        RegistryServer(login="bearer", token_life=2) as server,
        Registry(server.host, access=QUICK, credentials=Known(USER)) as registry,
    ):
        repository = registry.repository("team/app")
        repository.resolve("v1")
        time.sleep(2.1)
        repository.resolve("v1")
        assert server.seen("GET", "/token") == 2
        unauthorised = [request for request in server.requests("HEAD") if "authorization" not in request.headers]
        assert len(unauthorised) == 1
        assert server.seen("HEAD") == 3


def test_a_token_that_the_registry_forgot_is_fetched_again() -> None:
    with (
        RegistryServer(login="bearer") as server,
        Registry(server.host, access=QUICK, credentials=Known(USER)) as registry,
    ):
        repository = registry.repository("team/app")
        oci_images.image(repository, tag="v1")
        server.tokens.clear()
        assert repository.manifest("v1")
        server.tokens.clear()
        repository.put_blob(content.blob_of(bytes(50_000)))


def test_an_identity_token_is_exchanged() -> None:
    found = Credentials(identity_token="an-identity-token")  # noqa: S106
    with (
        RegistryServer(login="bearer") as server,
        Registry(server.host, access=QUICK, credentials=Known(found)) as registry,
    ):
        registry.repository("team/app").resolve("v1")
        assert server.seen("POST", "/token") == 1


def test_a_registry_token_is_used_as_it_is() -> None:
    with RegistryServer(login="bearer") as server:
        server.tokens["ready"] = (("repository:team/app:pull",), time.monotonic() + 100)
        found = Credentials(registry_token="ready")  # noqa: S106
        with Registry(server.host, access=QUICK, credentials=Known(found)) as registry:
            assert registry.repository("team/app").resolve("v1") is None
        assert server.seen("GET", "/token") == 0


@pytest.mark.parametrize("login", ["bearer", "basic"])
@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_wrong_credentials_are_refused_and_never_told(login: str, who: str) -> None:
    found = Credentials() if who == "nobody" else Credentials(username="user", password="hunter2")  # noqa: S106
    with (
        RegistryServer(login=login) as server,
        Registry(server.host, access=QUICK, credentials=Known(found)) as registry,
    ):
        with pytest.raises(RegistryDenied, match="BM803") as caught:
            registry.repository("team/app").resolve("v1")
        assert "hunter2" not in f"{caught.value}{found!r}"
        assert base64.b64encode(b"user:hunter2").decode() not in str(caught.value)
        assert "docker login" in str(caught.value)
        assert len(server.log) <= 3


def test_basic_authentication() -> None:
    with (
        RegistryServer(login="basic") as server,
        Registry(server.host, access=QUICK, credentials=Known(USER)) as registry,
    ):
        oci_images.image(registry.repository("team/app"), tag="v1")
        assert len([request for request in server.log if "authorization" not in request.headers]) == 1


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"token":"a\\nb"}', b'{"token":1}', b'{"token":"x","expires_in":"y"}']
)
def test_an_answer_without_a_token(body: bytes) -> None:
    with RegistryServer(login="bearer", public=True) as server:
        server.fail("GET", "/token", status=200, body=body)
        with Registry(server.host, access=QUICK) as registry, pytest.raises(RegistryFailed, match="token"):
            registry.repository("team/app").resolve("v1")


def test_a_secure_registry_gets_no_password_sent_in_the_clear() -> None:
    sent: list[Call] = []

    def fetch(call: Call) -> Answer:
        sent.append(call)
        return Answer(status=200, headers={}, body=b'{"token":"x"}', url=call.url)

    auth = Auth("r.example", secure=True, source=Known(USER), fetch=fetch)
    with pytest.raises(RegistryDenied, match="expected https"):
        auth.answer(['Bearer realm="http://r.example/token"'], ("repository:a:pull",), "")
    assert sent == []
    auth = Auth("r.example", secure=True, source=Known(USER), fetch=fetch)
    assert auth.answer(['Bearer realm="https://r.example/token?a=b"'], ("repository:a:pull",), "") is True
    assert sent[0].url == "https://r.example/token?a=b&scope=repository%3Aa%3Apull"
    assert auth.header(("repository:a:pull",)) == "Bearer x"


# Docker's config.json


class Helper:
    """Stands for docker-credential-… programs."""

    def __init__(self, answers: Mapping[str, str], status: int = 0) -> None:
        self.answers = answers
        self.status = status
        self.calls: list[tuple[tuple[str, ...], str]] = []

    def feed(
        self, argv: tuple[str, ...], text: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.calls.append((argv, text))
        found = self.answers.get(text)
        if found is None:
            return Completed(argv=argv, status=1, stdout="credentials not found in native keychain\n", stderr="")
        return Completed(argv=argv, status=self.status, stdout=found, stderr="")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DockerConfig]:
    def make(value: object, helper: Helper | None = None) -> DockerConfig:
        (tmp_path / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))
        return DockerConfig({"DOCKER_CONFIG": str(tmp_path)}, helper or Helper({}))

    return make


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("r.example", "r.example"),
        ("https://r.example", "r.example"),
        ("https://r.example/v2/", "r.example"),
        ("https://r.example/some/path", "r.example"),
        ("r.example:5000", "r.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_names_that_a_registry_has_in_auths(config: Callable[..., DockerConfig], key: str, registry: str) -> None:
    found = config({"auths": {key: auth("user:pass:word"), "other.example": auth("x:y")}}).find(registry)
    assert found == Credentials(username="user", password="pass:word")  # noqa: S106
    assert config({"auths": {key: auth("user:x")}}).find("else.example").anonymous


def test_tokens_in_auths(config: Callable[..., DockerConfig]) -> None:
    found = config({"auths": {"r.example": {"identitytoken": "i", "registrytoken": "r"}}}).find("r.example")
    assert (found.identity_token, found.registry_token) == ("i", "r")
    plain = config({"auths": {"r.example": {"username": "u", "password": "p"}}}).find("r.example")
    assert (plain.username, plain.password) == ("u", "p")


def test_a_registrys_own_helper_comes_first(config: Callable[..., DockerConfig]) -> None:
    helper = Helper({"r.example": '{"ServerURL":"r.example","Username":"u","Secret":"p"}'})
    value = {"credHelpers": {"r.example": "ecr"}, "credsStore": "desktop", "auths": {"r.example": auth("no:no")}}
    assert config(value, helper).find("r.example") == Credentials(username="u", password="p")  # noqa: S106
    assert helper.calls == [(("docker-credential-ecr", "get"), "r.example")]


def test_the_general_helper_then_the_file(config: Callable[..., DockerConfig]) -> None:
    helper = Helper({"https://index.docker.io/v1/": '{"Username":"<token>","Secret":"t"}'})
    value = {"credsStore": "desktop", "auths": {"r.example": auth("a:b"), "https://index.docker.io/v1/": {}}}
    assert config(value, helper).find("docker.io") == Credentials(identity_token="t")  # noqa: S106
    assert config(value, helper).find("r.example") == Credentials(username="a", password="b")  # noqa: S106


@pytest.mark.parametrize("answer", ["", "{", "[]", '{"Username":"u"}'])
def test_a_helper_that_says_nothing_useful(config: Callable[..., DockerConfig], answer: str) -> None:
    with pytest.raises(RegistryDenied, match="expected JSON with Username and Secret"):
        config({"credHelpers": {"r.example": "x"}}, Helper({"r.example": answer})).find("r.example")


def test_a_helper_that_fails(config: Callable[..., DockerConfig]) -> None:
    with pytest.raises(RegistryDenied, match="docker-credential-x: gave no credentials"):
        config({"credHelpers": {"r.example": "x"}}, Helper({"r.example": "locked"}, status=1)).find("r.example")


@pytest.mark.parametrize(
    "value",
    ["{", "[]", {"auths": []}, {"auths": {"r.example": 1}}, {"auths": {"r.example": {"auth": "%%%"}}},
     {"auths": {"r.example": {"auth": "dXNlcg=="}}}, {"credHelpers": ["x"]}],
)  # fmt: skip
def test_a_config_that_docker_did_not_write(config: Callable[..., DockerConfig], value: object) -> None:
    with pytest.raises(UsageError, match=r"config.json: .*(expected|is not JSON)"):
        config(value).find("r.example")


def test_no_config_is_nobody(tmp_path: Path) -> None:
    assert DockerConfig({"HOME": str(tmp_path)}, Helper({})).find("r.example").anonymous
    assert DockerConfig({"HOME": str(tmp_path)}, Helper({})).path == tmp_path / ".docker/config.json"
    assert Anonymous().find("r.example").anonymous


def test_a_real_helper_reads_the_server_from_its_input(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread server\nprintf \'{"Username":"%s","Secret":"%s"}\' "$1" "$server"\n')
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "config.json").write_text('{"credHelpers": {"r.example": "test", "s.example": "none"}}')
    environment = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    found = credentials.from_environment(SubprocessRunner(), environment)
    assert found.find("r.example") == Credentials(username="get", password="r.example")  # noqa: S106
    with pytest.raises(ToolMissing, match=r"docker-credential-none: cannot be started, but .*config.json names it"):
        found.find("s.example")


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[trustme.CA, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    made = trustme.CA()
    made.cert_pem.write_to_path(folder / "ca.pem")
    client = made.issue_cert("client@example")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    yield made, folder


def context(authority: trustme.CA, *, client: bool = False) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(found)
    if client:
        authority.configure_trust(found)
        found.verify_mode = ssl.CERT_REQUIRED
    return found


def test_a_certificate_of_ones_own_authority(authority: tuple[trustme.CA, Path]) -> None:
    made, folder = authority
    access = Access(ca=folder / "ca.pem", backoff=0.001)
    with RegistryServer(tls=context(made)) as server, Registry(server.host, access=access) as registry:
        oci_images.image(registry.repository("team/app"), tag="v1")
        assert registry.transport.base.startswith("https://")


def test_an_unknown_certificate_is_refused_once(authority: tuple[trustme.CA, Path]) -> None:
    with RegistryServer(tls=context(authority[0])) as server:
        access = Access(https=(server.host,), backoff=30)
        with Registry(server.host, access=access) as registry:
            started = time.monotonic()
            with pytest.raises(RegistryUnreachable, match="its certificate is not trusted"):
                registry.repository("team/app").resolve("v1")
            assert time.monotonic() - started < 15
        assert server.log == []


def test_a_client_certificate(authority: tuple[trustme.CA, Path]) -> None:
    made, folder = authority
    with RegistryServer(tls=context(made, client=True)) as server:
        known = Access(ca=folder / "ca.pem", client_cert=folder / "client.pem", backoff=0.001, attempts=2)
        with Registry(server.host, access=known) as registry:
            assert registry.repository("team/app").resolve("v1") is None
        unknown = Access(ca=folder / "ca.pem", backoff=0.001, attempts=2)
        with Registry(server.host, access=unknown) as registry, pytest.raises(RegistryUnreachable):
            registry.repository("team/app").resolve("v1")


def test_another_host_gets_no_client_certificate(authority: tuple[trustme.CA, Path]) -> None:
    """A storage host that demands one is refused, although the client has one for the registry."""
    made, folder = authority
    access = Access(ca=folder / "ca.pem", client_cert=folder / "client.pem", backoff=0.001, attempts=1)
    with RegistryServer(tls=context(made, client=True)) as storage, RegistryServer(tls=context(made)) as server:
        server.fail("HEAD", "/manifests/", status=307, headers={"Location": f"{storage.url}/elsewhere/x"}, times=None)
        with Registry(server.host, access=access) as registry, pytest.raises(RegistryUnreachable):
            registry.repository("team/app").resolve("v1")
        assert storage.log == []


def test_a_redirect_out_of_tls_is_refused(authority: tuple[trustme.CA, Path]) -> None:
    made, folder = authority
    access = Access(ca=folder / "ca.pem", backoff=0.001, attempts=1)
    with RegistryServer() as plain, RegistryServer(tls=context(made)) as server:
        server.fail("HEAD", "/manifests/", status=307, headers={"Location": f"{plain.url}/v2/"}, times=None)
        server.change("POST", "/uploads/", lambda _, reply: reply.headers.update({"Location": f"{plain.url}/v2/x"}))
        with Registry(server.host, access=access) as registry:
            repository = registry.repository("team/app")
            with pytest.raises(RegistryFailed, match="expected https again"):
                repository.resolve("v1")
            with pytest.raises(RegistryFailed, match="expected https"):
                repository.put_blob(content.blob_of(b"x"))
        assert plain.log == []


def test_a_registry_without_tls_must_be_allowed() -> None:
    with RegistryServer() as server:
        registry = Registry(server.host, access=Access(https=(server.host,), attempts=2, backoff=0.001))
        with registry, pytest.raises(RegistryUnreachable, match="does not speak TLS"):
            registry.repository("team/app").resolve("v1")


@pytest.mark.parametrize(
    ("registry", "access", "plain"),
    [
        ("127.0.0.1:5000", Access(), True),
        ("localhost", Access(), True),
        ("[::1]:5000", Access(), True),
        ("localhost", Access(https=("localhost",)), False),
        ("localhost", Access(ca=Path("ca.pem")), False),
        ("r.example:5000", Access(), False),
        ("r.example:5000", Access(plain_http=("r.example:5000",)), True),
        ("r.example", Access(plain_http=("r.example:5000",)), False),
    ],
)
def test_who_is_spoken_to_without_tls(registry: str, access: Access, plain: bool) -> None:
    assert transport.speaks_plain_http(registry, access) is plain


def test_certificates_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "none.pem"):
        with (
            Registry("r.example", access=Access(ca=path)) as registry,
            pytest.raises(UsageError, match="cannot be loaded"),
        ):
            registry.repository("a").resolve("x")


def test_dockers_own_certificates_are_known(
    authority: tuple[trustme.CA, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = authority
    monkeypatch.setattr(transport, "DOCKER_CERTIFICATES", tmp_path)
    with RegistryServer(tls=context(made)) as server:
        (tmp_path / server.host).mkdir()
        (tmp_path / server.host / "ca.crt").write_bytes((folder / "ca.pem").read_bytes())
        with Registry(server.host, access=QUICK) as registry:
            assert registry.repository("team/app").resolve("v1") is None
