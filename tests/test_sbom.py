"""Bills of materials against the official schemas, foreign validators, and real package databases."""

import hashlib
import io
import json
import sqlite3
import struct
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from buildmatrix import attest, cli, inventory, modcache
from buildmatrix.errors import UsageError
from buildmatrix.facts import Facts, GoModule
from buildmatrix.sbom import cyclonedx, diff, golang, licences, purl, reading, recall, rpmdb, spdx, tree
from buildmatrix.sbom.model import Bill, Learnt, Licence, Tool
from buildmatrix.sbom.packages import Damaged, apk, dpkg, os_release
from tests import factory
from tests.test_documents import MIT

TOOLS = (Tool(name="buildmatrix", version="1"),)
MODULES = (
    GoModule(path="github.com/BurntSushi/toml", version="v1.0.0+incompatible", sum="h1:abc="),
    GoModule(
        path="example.org/old", version="v1.0.0",
        replace=GoModule(path="example.org/new", version="v2.0.0", sum="h1:d="),
    ),
    GoModule(path="example.org/local", version="v0.0.0", replace=GoModule(path="../local", version="(devel)")),
)  # fmt: skip
LEARNT = Learnt(
    licences={
        ("github.com/BurntSushi/toml", "v1.0.0+incompatible"): Licence(
            expression="MIT", file="COPYING", sha256="0" * 64
        ),
        ("example.org/old", "v1.0.0"): Licence(
            expression="Apache-2.0 AND BSD-3-Clause", file="LICENSE", sha256="1" * 64
        ),
        ("example.org/local", "v0.0.0"): None,
    },
    requires={
        ("example.org/app", "(devel)"): ("example.org/old", "example.org/local"),
        ("example.org/old", "v1.0.0"): ("github.com/BurntSushi/toml", "example.org/pruned"),
        ("github.com/BurntSushi/toml", "v1.0.0+incompatible"): (),
        ("example.org/local", "v0.0.0"): (),
    },
)  # fmt: skip


def made(**changes: Any) -> golang.Made:
    values: dict[str, Any] = {
        "cell": "app_amd64", "binary": "app", "version": "1.2.3", "supplier": "Example Org", "licence": "Apache-2.0",
        "file": "app", "size": 4096, "hashes": (("sha256", "ab" * 32), ("sha512", "cd" * 64)), "compiler": "",
        "libc": "none", "tools": TOOLS, "epoch": 1_700_000_000,
    }  # fmt: skip
    return golang.Made(**{**values, **changes})


def facts(kind: str = "linux", **settings: Any) -> Facts:
    return factory.facts(factory.cell(goos=kind, **settings), go={"modules": MODULES})


def bill(learnt: Learnt = LEARNT, **changes: Any) -> Bill:
    return golang.bill(facts(), made(**changes), learnt)


def check_cyclonedx(data: bytes) -> dict[str, Any]:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode("ascii")) is None
    found: dict[str, Any] = json.loads(data)
    return found


def check_spdx(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    parsed = JsonLikeDictParser().parse(json.loads(data))  # type: ignore[no-untyped-call]
    assert [message.validation_message for message in validate_full_spdx_document(parsed)] == []
    return found


def variants() -> list[Any]:
    musl = factory.facts(factory.cell("a", cgo=True, libc="musl"), go={"modules": MODULES})
    glibc = factory.facts(factory.cell("a", cgo=True, libc="glibc"), go={"modules": MODULES})
    zig = "zig 0.17.1 cc -target x86_64-linux-musl"
    return [
        pytest.param(bill(), id="elf"),
        pytest.param(bill(Learnt(), supplier="", licence="", epoch=None), id="bare"),
        pytest.param(bill(licence="LicenseRef-Proprietary"), id="own-licence"),
        pytest.param(bill(licence="MIT OR Apache-2.0"), id="expression"),
        pytest.param(golang.bill(facts("windows"), made(), LEARNT), id="pe"),
        pytest.param(golang.bill(facts("darwin", goarch="arm64"), made(), LEARNT), id="macho"),
        pytest.param(golang.bill(musl, made(compiler=zig, libc="musl"), LEARNT), id="musl"),
        pytest.param(golang.bill(glibc, made(compiler="aarch64-linux-gnu-gcc", libc="glibc"), LEARNT), id="glibc"),
        pytest.param(golang.bill(replace(facts(), go=None), made(), Learnt()), id="no-go"),
    ]


@pytest.mark.parametrize("told", variants())
def test_both_formats_pass_their_validators(told: Bill) -> None:
    check_cyclonedx(cyclonedx.write(told))
    check_spdx(spdx.write(told))


@pytest.mark.parametrize("told", variants())
def test_the_same_bill_gives_the_same_bytes(told: Bill) -> None:
    turned = replace(told, components=told.components[::-1], edges=told.edges[::-1], tools=told.tools[::-1])
    assert cyclonedx.write(told) == cyclonedx.write(turned)
    assert spdx.write(told) == spdx.write(turned)


def test_identifiers_follow_from_the_content() -> None:
    one, other = json.loads(cyclonedx.write(bill())), json.loads(cyclonedx.write(bill(version="1.2.4")))
    assert one["serialNumber"] != other["serialNumber"]
    assert one["serialNumber"] == cyclonedx.serial({k: v for k, v in one.items() if k != "serialNumber"})
    namespaces = {json.loads(spdx.write(bill(version=v)))["documentNamespace"] for v in ("1", "2")}
    assert len(namespaces) == 2


def test_what_was_linked_is_listed_as_it_was_linked() -> None:
    parts = {item["name"]: item for item in json.loads(cyclonedx.write(bill()))["components"]}
    assert set(parts) == {
        "example.org/app", "example.org/new", "example.org/local", "github.com/BurntSushi/toml", "stdlib",
    }  # fmt: skip
    assert parts["example.org/app"]["version"] == "1.2.3"
    assert parts["github.com/BurntSushi/toml"]["purl"] == "pkg:golang/github.com/BurntSushi/toml@v1.0.0%2Bincompatible"
    said = {item["name"]: item["value"] for item in parts["example.org/new"]["properties"]}
    assert said["buildmatrix:go:replaces"] == "example.org/old@v1.0.0"
    assert said["buildmatrix:go:h1"] == "h1:d="
    assert parts["example.org/local"]["version"] == "v0.0.0"


def test_h1_is_never_a_hash() -> None:
    """It is no digest of a file; scanners that compare it with one raise false alarms."""
    for data in (cyclonedx.write(bill()), spdx.write(bill())):
        parsed = reading.bill(reading.parse(data))
        assert all(not item.hashes for item in parsed.components)
        assert dict(parsed.subject.hashes) == {"sha256": "ab" * 32, "sha512": "cd" * 64}


def test_edges_are_requirements_of_what_was_linked() -> None:
    edges = {item["ref"]: item["dependsOn"] for item in json.loads(cyclonedx.write(bill()))["dependencies"]}
    new, local = "pkg:golang/example.org/new@v2.0.0", "pkg:golang/example.org/local@v0.0.0"
    toml = "pkg:golang/github.com/BurntSushi/toml@v1.0.0%2Bincompatible"
    main = "pkg:golang/example.org/app@1.2.3"
    assert edges["artifact:app_amd64/app"] == [main]
    assert edges[main] == sorted([new, local, f"pkg:golang/stdlib@{factory.GO_VERSION}"])
    assert edges[new] == [toml]
    aggregates = [item["aggregate"] for item in json.loads(cyclonedx.write(bill(Learnt())))["compositions"]]
    assert aggregates == ["incomplete"]


@pytest.mark.parametrize("write", [cyclonedx.write, spdx.write])
@pytest.mark.parametrize("learnt", [LEARNT, Learnt()], ids=["sources", "no sources"])
def test_a_document_can_be_made_again_from_itself_and_the_bytes(write: Any, learnt: Learnt) -> None:
    data = write(bill(learnt))
    info = facts().go
    assert info is not None
    told = recall.learnt(reading.bill(reading.parse(data)), info)
    assert write(golang.bill(facts(), made(), told)) == data
    assert list(recall.doubts(told)) == []


@pytest.mark.parametrize(
    ("name", "version"),
    [("github.com/BurntSushi/toml", "v1.0.0+incompatible"), ("example.org/a~b/c", "v1.0.0-20200101000000-abcdef"),
     ("example.org/a b", "(devel)"), ("example.org/ä", "v1"), ("gopkg.in/yaml.v3", "v3.0.1"), ("a/b@c", "1:2~3%4")],
)  # fmt: skip
def test_package_urls_are_what_packageurl_reads(name: str, version: str) -> None:
    url = purl.golang(name, version, "cmd/app")
    parsed = PackageURL.from_string(url)
    assert ("/".join(filter(None, (parsed.namespace, parsed.name))), parsed.version) == (name, version)
    assert parsed.subpath == "cmd/app"
    assert purl.split(url) == ("golang", name, version)


def test_licences_are_recognised_word_for_word() -> None:
    assert licences.detect(MIT) == "MIT"
    assert licences.detect(MIT.replace("\n", "\n// ")) == "MIT"
    assert licences.detect(MIT.replace("free of charge", "for a fee")) == ""
    clause = " The Software shall be used for Good, not Evil, and must never be sold to anyone who lives in a city."
    assert licences.detect(MIT + clause) == ""
    assert licences.detect("") == ""


@pytest.mark.parametrize("name", ["Apache-2.0", "GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3", "MPL-2.0", "CC0-1.0", "BSD"])
def test_the_texts_that_debian_ships_are_recognised(name: str) -> None:
    path = Path("/usr/share/common-licenses") / name
    if not path.exists():
        pytest.skip("not a Debian system: there are no such texts to compare with")
    ids = {"GPL-2": "GPL-2.0-only", "GPL-3": "GPL-3.0-only", "LGPL-2.1": "LGPL-2.1-only", "LGPL-3": "LGPL-3.0-only",
           "BSD": "BSD-3-Clause"}  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert licences.detect(text) == ids.get(name, name)
    words = text.split()
    middle = len(words) // 2
    assert licences.detect(" ".join([*words[:middle], "not", *words[middle:]])) == ""


def test_requirements_of_a_go_mod() -> None:
    text = """\
module example.org/app // a comment

go 1.21

require example.org/one v1.0.0
require "example.org/quoted" v1.0.0
require (
\texample.org/two v2.0.0 // why
\texample.org/three v3.0.0 // indirect
)
exclude (
\texample.org/four v4.0.0
)
replace example.org/two => ../two
"""
    assert modcache.requirements(text) == ("example.org/one", "example.org/quoted", "example.org/two")


def test_the_graph_is_what_go_says(tmp_path: Path) -> None:
    """`go mod graph` over modules in folders: every edge of ours is one of its, and the others are indirect."""
    for name, requires in {"a": ["b"], "b": ["c"], "c": []}.items():
        lines = "".join(f"require example.org/{item} v1.0.0\n" for item in requires)
        factory.module(tmp_path / name, **{f"{name}.go": f"package {name}\n"})
        (tmp_path / name / "go.mod").write_text(f"module example.org/{name}\n\ngo 1.21\n\n{lines}")
    replaced = "".join(f"replace example.org/{item} => ../{item}\n" for item in "abc")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "go.mod").write_text(
        "module example.org/app\n\ngo 1.21\n\nrequire example.org/a v1.0.0\n\n"
        f"require (\n\texample.org/b v1.0.0 // indirect\n\texample.org/c v1.0.0 // indirect\n)\n\n{replaced}"
    )
    modules = tuple(
        GoModule(path=f"example.org/{item}", version="v1.0.0", replace=GoModule(path=f"../{item}", version="(devel)"))
        for item in "abc"
    )
    info = replace(factory.go_info(factory.cell()), modules=modules)
    learnt = modcache.learn(info, tmp_path / "main", None)
    ours = {(one[0], other) for one, targets in learnt.requires.items() for other in targets}
    done = subprocess.run(
        ["go", "mod", "graph"], cwd=tmp_path / "main", capture_output=True, text=True, check=True,
        env={"PATH": "/usr/local/go/bin:/usr/bin:/bin", "HOME": str(tmp_path), "GOPROXY": "off", "GOFLAGS": ""},
    )  # fmt: skip
    pairs = (line.split() for line in done.stdout.splitlines())
    theirs = {(one.partition("@")[0], other.partition("@")[0]) for one, other in pairs}
    assert ours <= theirs
    assert {pair for pair in theirs - ours if pair[1] not in ("go", "toolchain")} == {
        ("example.org/app", "example.org/b"),
        ("example.org/app", "example.org/c"),
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", "empty"), (b'{"a": 1', "truncated"), (b'{"a": "x', "truncated"), (b"{]", "not-json"), (b"[1]", "shape"),
     (b'{"a": 1, "a": 2}', "duplicate"), (b'{"a": {"b": 1, "b": 1}}', "duplicate"), (b'{"a": NaN}', "not-json"),
     (b'{"a": "\xff"}', "not-json"), (b'{"a":' * 50_000, "not-json")],
)  # fmt: skip
def test_json_is_read_strictly(data: bytes, kind: str) -> None:
    with pytest.raises(reading.Unreadable) as caught:
        reading.parse(data)
    assert caught.value.kind == kind


STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u4
Source: glibc (2.36-9)
Maintainer: GNU Libc Maintainers <x@example.org>
Description: GNU C Library
 more about it
Conffiles:
 /etc/x 0

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
APK = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\nZ:Q1y=\nF:\nR:top\n\n"


def test_dpkg_tells_installed_packages_with_their_files() -> None:
    (package,) = dpkg(STATUS, {"libc6:amd64.list": "/.\n/lib\n/lib/x86_64-linux-gnu/libc.so.6\n"})
    assert (package.name, package.version, package.source) == ("libc6", "2.36-9+deb12u4", "glibc")
    assert package.files == ("lib", "lib/x86_64-linux-gnu/libc.so.6")
    url = package.purl("debian", "debian-12")
    assert url == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12"
    assert PackageURL.from_string(url).version == "2.36-9+deb12u4"


def test_apk_tells_packages_with_their_files() -> None:
    (package,) = apk(APK)
    assert (package.name, package.version, package.licence) == ("musl", "1.2.5-r0", "MIT")
    assert package.files == ("lib/ld-musl-x86_64.so.1", "top")
    assert package.purl("alpine", "alpine-3.20") == "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20"


def rpm_header(**strings: str) -> bytes:
    """A header as rpm stores it: version and the like as strings, two files in two folders, an epoch."""
    tags = {"name": 1000, "version": 1001, "release": 1002, "arch": 1022, "license": 1014}
    store, entries = b"", []
    for name, value in strings.items():
        entries.append((tags[name], 6, len(store), 1))
        store += value.encode() + b"\0"
    store += bytes(-len(store) % 4)
    entries += [(1003, 4, len(store), 1), (1116, 4, len(store) + 4, 2)]
    store += struct.pack(">III", 2, 0, 1)
    entries.append((1117, 8, len(store), 2))
    store += b"bash\0sh.conf\0"
    entries.append((1118, 8, len(store), 2))
    store += b"/usr/bin/\0/etc/\0"
    index = b"".join(struct.pack(">IIiI", *entry) for entry in entries)
    return struct.pack(">II", len(entries), len(store)) + index + store


def rpm_database(path: Path, *headers: bytes) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    connection.close()
    return path.read_bytes()


def test_rpm_databases_in_sqlite_are_read(tmp_path: Path) -> None:
    header = rpm_header(name="bash", version="5.2", release="1.fc40", arch="x86_64", license="GPL-3.0-or-later")
    key = rpm_header(name="gpg-pubkey", version="1", release="1")
    (package,) = rpmdb.packages(rpm_database(tmp_path / "rpmdb.sqlite", header, key))
    assert (package.name, package.version, package.arch) == ("bash", "2:5.2-1.fc40", "x86_64")
    assert package.files == ("usr/bin/bash", "etc/sh.conf")
    assert package.purl("fedora", "fedora-40").startswith("pkg:rpm/fedora/bash@2:5.2-1.fc40?arch=x86_64")


def test_every_cut_of_an_rpm_header_is_refused(tmp_path: Path) -> None:
    header = rpm_header(name="bash", version="5.2", release="1", arch="x86_64")
    for length in range(len(header)):
        with pytest.raises(Damaged):
            list(rpmdb.packages(rpm_database(tmp_path / f"{length}", header[:length])))
    with pytest.raises(Damaged, match="expected an SQLite database"):
        list(rpmdb.packages(b"RpmP"))


@pytest.mark.parametrize("text", ["no colon here\n", "Status: install ok installed\n", "Package: x\n"])
def test_damaged_dpkg_databases_are_refused(text: str) -> None:
    with pytest.raises(Damaged):
        list(dpkg(text, {}))


@pytest.mark.parametrize("text", ["nonsense\n", "P:x\n", "PP:x\n"])
def test_damaged_apk_databases_are_refused(text: str) -> None:
    with pytest.raises(Damaged):
        list(apk(text))


def root(folder: Path) -> Path:
    """A merged-/usr Debian root with one package, one stray executable and a link."""
    files = {
        "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n',
        "var/lib/dpkg/status": STATUS.encode(),
        "var/lib/dpkg/info/libc6:amd64.list": b"/.\n/lib\n/lib/x86_64-linux-gnu/libc.so.6\n",
        "usr/lib/x86_64-linux-gnu/libc.so.6": b"not really",
        "usr/local/bin/app": b"#!/bin/sh\n",
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "lib").symlink_to("usr/lib")
    (folder / "etc").mkdir()
    (folder / "etc" / "os-release").symlink_to("../usr/lib/os-release")
    return folder


def tar_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=".")
    return path


def test_a_root_is_listed_with_its_packages_and_their_files(tmp_path: Path) -> None:
    place = root(tmp_path / "root")
    for path in (place, tar_of(place, tmp_path / "root.tar")):
        found, findings = inventory.look(path, ("sha256", "sha1"))
        assert findings == ()
        told = tree.bill(found, TOOLS, None)
        bom = check_cyclonedx(cyclonedx.write(told))
        parts = {item["name"]: item for item in bom["components"]}
        assert parts["debian"]["version"] == "12"
        assert [item["name"] for item in parts["libc6"]["components"]] == ["usr/lib/x86_64-linux-gnu/libc.so.6"]
        assert "usr/local/bin/app" in parts
        check_spdx(spdx.write(told))


def test_a_tree_and_its_archive_have_the_same_components(tmp_path: Path) -> None:
    place = root(tmp_path / "root")
    places = (place, tar_of(place, tmp_path / "root.tar"))
    bills = [tree.bill(inventory.look(path, ("sha256",))[0], TOOLS, None) for path in places]
    assert bills[0].components == bills[1].components


def test_distroless_packages_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "lib" / "dpkg" / "status.d"
    folder.mkdir(parents=True)
    (folder / "base-files").write_text("Package: base-files\nVersion: 12.4\nArchitecture: arm64\n")
    (folder / "base-files.md5sums").write_text("d41d8cd98f00b204e9800998ecf8427e  etc/debian_version\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "debian_version").write_text("")
    found, _ = inventory.look(tmp_path, ("sha256",))
    assert [(item.name, item.version, item.files) for item in found.packages] == [
        ("base-files", "12.4", ("etc/debian_version",))
    ]


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("var/lib/rpm/Packages", b"x", "BM724"), ("usr/lib/sysimage/rpm/Packages.db", b"RpmP", "BM724"),
     ("var/lib/rpm/rpmdb.sqlite", b"x", "BM725"), ("var/lib/dpkg/status", b"garbage", "BM725"),
     ("lib/apk/db/installed", b"garbage", "BM725")],
)  # fmt: skip
def test_databases_that_cannot_be_read_fail_the_run(
    tmp_path: Path, name: str, data: bytes, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    output = tmp_path / "bom.json"
    assert cli.main(["sbom", str(tmp_path / "root"), "-o", str(output)]) == 1
    assert code in capsys.readouterr().err
    assert json.loads(output.read_bytes())["compositions"][0]["aggregate"] == "incomplete"


def test_a_link_out_of_a_tree_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "status"
    secret.write_text(STATUS)
    folder = tmp_path / "root" / "var" / "lib" / "dpkg"
    folder.mkdir(parents=True)
    (folder / "status").symlink_to(secret)
    assert inventory.look(tmp_path / "root", ("sha256",))[0].packages == ()


@pytest.mark.parametrize("what", ["missing", "file"])
def test_what_is_no_tree_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="expected a directory, a tar archive or an OCI image layout"):
        inventory.look(tmp_path / what, ("sha256",))


def test_a_diff_names_every_kind_of_change() -> None:
    old = bill()
    learnt = replace(LEARNT, licences={**LEARNT.licences, ("example.org/old", "v1.0.0"): None})
    modules = (replace(MODULES[0], version="v2.0.0+incompatible"), MODULES[1])
    new = golang.bill(
        factory.facts(factory.cell("arm64", goarch="arm64"), go={"modules": modules}),
        made(version="1.3.0", hashes=(("sha256", "ef" * 32), ("sha512", "cd" * 64))),
        learnt,
    )
    found = {(item.kind, item.component, item.what): (item.old, item.new) for item in diff.changes(old, new, "")}
    assert found["version", "app", ""] == ("1.2.3", "1.3.0")
    assert found["digest", "app", "sha256"] == ("ab" * 32, "ef" * 32)
    assert found["property", "app", "buildmatrix:elf:machine"] == ("x86_64", "aarch64")
    assert found["removed", "example.org/local", ""] == ("v0.0.0", "")
    assert found["version", "github.com/BurntSushi/toml", ""] == ("v1.0.0+incompatible", "v2.0.0+incompatible")
    assert found["licence", "example.org/new", ""] == ("Apache-2.0 AND BSD-3-Clause", "")
    assert list(diff.changes(old, old, "")) == []


def test_the_formats_tell_the_same_components() -> None:
    one, other = (reading.bill(reading.parse(write(bill()))) for write in (cyclonedx.write, spdx.write))
    kinds = {"version", "removed", "added", "licence", "digest"}
    assert [item for item in diff.changes(one, other, "") if item.kind in kinds] == []


def test_the_diff_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, version in (("old", "1.2.3"), ("new", "1.3.0")):
        folder = tmp_path / name / "app_amd64"
        folder.mkdir(parents=True)
        (folder / "sbom.cdx.json").write_bytes(attest.write(bill(version=version), "cyclonedx"))
    same = ["sbom", "diff", str(tmp_path / "old"), str(tmp_path / "old")]
    assert cli.main(same) == 0
    assert capsys.readouterr().out == "no change\n"
    assert cli.main(["sbom", "diff", str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert "version  app  " in capsys.readouterr().out
    assert cli.main(["sbom", "diff", str(tmp_path / "old"), str(tmp_path / "new"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["changes"][0]["new"] == "1.3.0"
    assert cli.main(["sbom", "diff", str(tmp_path / "old"), str(tmp_path)]) == 1
    assert cli.main(["sbom", "diff", str(tmp_path)]) == 2


def test_an_archive_with_a_hostile_name_is_listed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("a\udcff\n<b>")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    told = tree.bill(inventory.look(path, ("sha256", "sha1"))[0], TOOLS, None)
    names = [item["name"] for item in check_cyclonedx(cyclonedx.write(told))["components"]]
    assert names == ["a\\xff\n<b>"]
    check_spdx(spdx.write(told))


def test_os_release_is_unquoted() -> None:
    assert os_release("ID='alpine'\n#X=1\nVERSION_ID=3.20\n") == {"ID": "alpine", "VERSION_ID": "3.20"}


def image_layout(folder: Path, layers: dict[str, Path]) -> Path:
    """An OCI layout with one image for each platform, of one layer each."""

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        path = folder / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    entries = []
    for name, layer in layers.items():
        system, _, architecture = name.partition("/")
        where = {"os": system, "architecture": architecture}
        diff_id = f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"
        config = blob(
            json.dumps({**where, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode(), "config.v1+json"
        )
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [blob(layer.read_bytes(), "layer.v1.tar")],
        }  # fmt: skip
        entries.append({**blob(json.dumps(manifest).encode(), "manifest.v1+json"), "platform": where})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


def test_an_image_is_listed_for_one_platform(tmp_path: Path) -> None:
    place = tar_of(root(tmp_path / "root"), tmp_path / "root.tar")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "app").write_bytes(b"x")
    other = tar_of(tmp_path / "bare", tmp_path / "bare.tar")
    both = image_layout(tmp_path / "both", {"linux/amd64": place, "linux/arm64": other})
    with pytest.raises(UsageError, match="images for linux/amd64, linux/arm64, expected one"):
        inventory.look(both, ("sha256",))
    assert [item.name for item in inventory.look(both, ("sha256",), "linux/amd64")[0].packages] == ["libc6"]
    assert [item.path for item in inventory.look(both, ("sha256",), "linux/arm64")[0].files] == ["app"]
    single = image_layout(tmp_path / "single", {"linux/amd64": place})
    told = tree.bill(inventory.look(single, ("sha256", "sha1"))[0], TOOLS, None)
    assert check_cyclonedx(cyclonedx.write(told))["metadata"]["component"]["type"] == "container"
    check_spdx(spdx.write(told))


def test_go_binaries_in_a_tree_bring_their_modules() -> None:
    files = tuple(tree.File(path=f"app{n}", size=1, hashes=(("sha256", "0" * 64),), facts=facts()) for n in (1, 2))
    found = tree.Tree(
        name="t", kind="file", hashes=(), files=files, links={}, packages=(), release={}, complete=True
    )  # fmt: skip
    bom = check_cyclonedx(cyclonedx.write(tree.bill(found, TOOLS, None)))
    names = [item["name"] for item in bom["components"] if item["type"] == "library"]
    assert names == ["example.org/app", "example.org/local", "example.org/new", "github.com/BurntSushi/toml", "stdlib"]
    edges = {item["ref"]: item["dependsOn"] for item in bom["dependencies"]}
    assert edges["file:app1"] == edges["file:app2"]
    assert len(edges["file:app1"]) == 5
