"""Readers, joining and reports of `buildmatrix converge`."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix import cli, elf, errors
from buildmatrix.converge import conclusion, gather, join, matcher, reader, report, settle
from buildmatrix.converge.causes import CATALOGUE
from buildmatrix.converge.symptom import Context, Symptom
from tests.test_converge_said import rows

ENOEXEC = "fork/exec /app/server: exec format error"
FLOOR = "/app/tool: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /app/tool)"
OOM = "Memory cgroup out of memory: Killed process 4242 (worker) total-vm:900kB, anon-rss:10kB"


def told(folder: Path, data: bytes | str, name: str = "input") -> list[Symptom]:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [item for item in reader.read(str(path), path, reader.Count()) if isinstance(item, Symptom)]


def concluded(*paths: Path, settled: bool = False) -> conclusion.Conclusion:
    problems: list[errors.BuildmatrixError] = []
    gathered = gather.gather(reader.everything(tuple(map(str, paths)), reader.Count(), problems))
    assert not problems
    if settled:
        settle.settle(gathered, settle.built(gathered))
    return conclusion.conclude(join.join(gathered), gathered)


# Formats


def only(found: list[Symptom]) -> Symptom:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, zstd.compress, bz2.compress, lzma.compress, lambda data: gzip.compress(zstd.compress(data))],
    ids=["plain", "gz", "zst", "bz2", "xz", "zst in gz"],
)
def test_compressed_inputs_are_told_by_content(tmp_path: Path, pack: Any) -> None:
    assert only(told(tmp_path, pack(f"one\n{ENOEXEC}\n".encode()))).context.line == 2


FORMATS = {
    "syslog": f"Nov 26 14:00:01 arm-1 app[77]: {ENOEXEC}\n",
    "logfmt": f'time=2026-11-26T14:00:01Z host=arm-1 level=error msg="{ENOEXEC}" trace_id=abc\n',
    "cri": f"2026-11-26T14:00:01.000000000Z stderr F host=arm-1 {ENOEXEC}\n",
    "docker": json.dumps({"log": f"host=arm-1 {ENOEXEC}\n", "stream": "stderr", "time": "2026-11-26T14:00:01Z"}) + "\n",
    "json lines": json.dumps({"ts": 1795701601.0, "hostname": "arm-1", "err": {"message": ENOEXEC}}) + "\n",
    "journal": json.dumps({"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1795701601000000", "_HOSTNAME": "arm-1",
                           "MESSAGE": ENOEXEC, "_PID": "77"}) + "\n",
    "journal bytes": json.dumps({"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1795701601000000", "_HOSTNAME": "arm-1",
                                 "MESSAGE": [*ENOEXEC.encode(), 255]}) + "\n",
    "loki query": json.dumps({"status": "success", "data": {"resultType": "streams", "result": [
        {"stream": {"host": "arm-1", "job": "app"}, "values": [["1795701601000000000", "fine"],
                                                              ["1795701601000000000", ENOEXEC]]}]}}),
    "logcli": json.dumps({"labels": {"host": "arm-1"}, "line": ENOEXEC, "timestamp": "2026-11-26T14:00:01Z"}) + "\n",
    "event": json.dumps({"kind": "List", "items": [{"kind": "Event", "type": "Warning", "reason": "Failed",
                         "message": f"Error: failed to start: {ENOEXEC}",
                         "involvedObject": {"kind": "Pod", "name": "p"},
                         "source": {"host": "arm-1"}, "lastTimestamp": "2026-11-26T14:00:01Z"}]}, indent=1),
    "pod": json.dumps({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "arm-1"}, "status": {
        "containerStatuses": [{"name": "c", "imageID": "r/app@sha256:" + "a" * 64, "state": {}, "lastState": {
            "terminated": {"exitCode": 128, "reason": "StartError", "finishedAt": "2026-11-26T14:00:01Z",
                           "message": f"failed to create task: {ENOEXEC}"}}}]}}),
    "otlp": json.dumps({"resourceSpans": [{"resource": {"attributes": [
        {"key": "host.name", "value": {"stringValue": "arm-1"}},
        {"key": "host.arch", "value": {"stringValue": "arm64"}}]},
        "scopeSpans": [{"spans": [{"traceId": "abc", "startTimeUnixNano": "1795701601000000000",
                                   "status": {"code": 2, "message": ENOEXEC}}]}]}]}) + "\n",
    "otlp logs": json.dumps({"resourceLogs": [{"resource": {"attributes": [
        {"key": "host.name", "value": {"stringValue": "arm-1"}}]}, "scopeLogs": [{"logRecords": [
            {"timeUnixNano": "1795701601000000000", "traceId": "abc", "body": {"stringValue": ENOEXEC}}]}]}]}),
    "jaeger": json.dumps({"data": [{"traceID": "abc", "processes": {"p1": {"serviceName": "app", "tags": [
        {"key": "hostname", "value": "arm-1"}]}}, "spans": [{"traceID": "abc", "processID": "p1",
        "startTime": 1795701601000000, "tags": [{"key": "error", "value": True}], "logs": [
            {"timestamp": 1, "fields": [{"key": "message", "value": ENOEXEC}]}]}]}]}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_message_host_and_time(tmp_path: Path, name: str) -> None:
    found = told(tmp_path, FORMATS[name])
    symptom = found[0]
    assert len({item.key for item in found}) == 1
    assert (symptom.pattern, symptom.program, symptom.context.host) == ("go-fork-exec", "/app/server", "arm-1")
    if name != "syslog":  # which has no year
        assert symptom.context.time == pytest.approx(1795701601.0)


def test_the_image_is_its_digest_and_traces_are_kept(tmp_path: Path) -> None:
    assert only(told(tmp_path, FORMATS["pod"])).context.image == "sha256:" + "a" * 64
    assert only(told(tmp_path, FORMATS["otlp"])).context.trace == "abc"
    assert only(told(tmp_path, FORMATS["otlp"])).context.arch == "arm64"
    assert only(told(tmp_path, FORMATS["jaeger"])).context.trace == "abc"


def test_journal_exports_with_binary_fields(tmp_path: Path) -> None:
    message = b"first line\n" + ENOEXEC.encode() + b"\xff"
    entry = b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795701601000000\n_HOSTNAME=arm-1\nMESSAGE\n"
    entry += struct.pack("<Q", len(message)) + message + b"\n\n"
    found = told(tmp_path, entry * 2)
    assert [(item.program, item.context.host) for item in found] == [("/app/server", "arm-1")] * 2


def test_a_journal_export_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"__CURSOR=s=1\nMESSAGE\n" + struct.pack("<Q", 1 << 60) + b"x")
    problems: list[errors.BuildmatrixError] = []
    assert not list(reader.everything((str(path),), reader.Count(), problems))
    assert "claims" in str(problems[0])


def test_an_input_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x\n" * 1000)[:-9])
    (tmp_path / "b.json").write_text('{"items": [' + "[" * 100_000)
    (tmp_path / "c.log").write_text(ENOEXEC + "\n")
    assert cli.main(["converge", "--json", str(tmp_path)]) == errors.EXIT_FINDINGS
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [item["cause"] for item in document["causes"]] == ["wrong-machine"]
    assert len(document["read"]["problems"]) == 2
    assert "a.gz" in err and "b.json" in err


def test_python_tells_a_failed_exec_from_a_failed_open(tmp_path: Path) -> None:
    failed_open = "FileNotFoundError: [Errno 2] No such file or directory: '/etc/app.conf'\n"
    assert not told(tmp_path, failed_open)
    assert not told(tmp_path, json.dumps({"msg": failed_open}) + "\n")
    trace = (
        'Traceback (most recent call last):\n  File "subprocess.py", line 1955, in _execute_child\n'
        "    raise child_exception_type(errno_num, err_msg, err_filename)\n"
        "FileNotFoundError: [Errno 2] No such file or directory: '/app/tool'\n"
    )
    assert only(told(tmp_path, trace)).program == "/app/tool"
    assert only(told(tmp_path, json.dumps({"exc": trace}) + "\n")).program == "/app/tool"


def test_misses_along_path_are_no_failures(tmp_path: Path) -> None:
    trace = (
        '7 execve("/usr/local/bin/tool", ["tool"], 0x1 /* 3 vars */) = -1 ENOENT (No such file or directory)\n'
        '7 execve("/usr/bin/tool", ["tool"], 0x1 /* 3 vars */) = 0\n7 +++ exited with 0 +++\n'
    )
    assert not told(tmp_path, trace)
    assert only(told(tmp_path, trace.replace(") = 0", ") = -1 ENOEXEC (Exec format error)"))).program == "/usr/bin/tool"


def test_unfinished_calls_are_put_together(tmp_path: Path) -> None:
    trace = (
        '[pid 7] execve("/app/a", ["a"], 0x1 /* 3 vars */ <unfinished ...>\n[pid 8] brk(NULL) = 0x1\n'
        "[pid 7] <... execve resumed>) = -1 ENOEXEC (Exec format error)\n[pid 7] +++ exited with 126 +++\n"
    )
    first, second = told(tmp_path, trace)
    assert (first.program, first.detail, second.detail) == ("/app/a", "ENOEXEC", "126")


def test_a_trace_that_shows_the_file_rules_out_that_it_is_missing(tmp_path: Path) -> None:
    trace = (
        '7 execve("/app/a", ["a"], 0x1 /* 3 vars */) = -1 ENOENT (No such file or directory)\n'
        '7 newfstatat(AT_FDCWD, "/app/a", {st_mode=S_IFREG|0755, st_size=9, ...}, 0) = 0\n7 +++ exited with 127 +++\n'
    )
    (tmp_path / "trace").write_text(trace)
    (found,) = concluded(tmp_path / "trace").causes
    assert "missing-file" not in dict(found.candidates)
    assert any("shows /app/a to be there" in item.text and item.seen for item in found.evidence)


def test_ld_debug_shows_that_the_cache_is_wrong(tmp_path: Path) -> None:
    """The order in which LD_DEBUG=libs shows a cache whose file is gone."""
    (tmp_path / "log").write_text(
        "       41:\tfind library=liblab.so.1 [0]; searching\n       41:\t search cache=/etc/ld.so.cache\n"
        "       41:\t  trying file=/opt/gone/liblab.so.1\n"
        "       41:\t search path=/lib:/usr/lib\t\t(system search path)\n"
        "       41:\t  trying file=/lib/liblab.so.1\n       41:\t  trying file=/usr/lib/liblab.so.1\n       41:\t\n"
        "/app/prog: error while loading shared libraries: liblab.so.1: cannot open shared object file: No such file or "
        "directory\n"
    )
    (found,) = concluded(tmp_path / "log").causes
    assert set(dict(found.candidates)) == {"stale-ldcache", "wrong-library-arch"}


# Joining


def planted(folder: Path) -> Path:
    """17 symptoms of 3 causes, in the words of real runs, in seven kinds of inputs."""
    lines = {(row["by"], row["cause"]): row["lines"] for row in rows()}
    place = folder / "mixed"
    place.mkdir()
    digest = "sha256:" + "b" * 64
    bash, dash = lines["bash", "wrong-machine"][0], lines["dash", "wrong-machine"][0]
    goes = lines["go", "wrong-machine"][0]
    trace = lines["strace", "wrong-machine"][0]
    floor = lines["bash", "glibc-too-old"][0]
    platform = ("WARNING: The requested image's platform (linux/amd64) does not match the detected host platform "
                "(linux/arm64/v8) and no specific platform was requested")  # fmt: skip
    at = "2026-11-26T14:00:{:02d}Z"
    (place / "app.log").write_text(
        f"{at.format(1)} host=arm-1 {bash}\n{at.format(2)} host=arm-1 {dash}\n{at.format(3)} host=arm-1 {platform}\n"
        f"{at.format(4)} host=arm-1 image={digest} all is well\n"
        f"{at.format(6)} host=arm-1 exit status 126\n{at.format(40)} host=db-1 {floor}\n"
        f"{at.format(41)} host=db-1 supervisor: exit status 1\n"
    )
    (place / "strace.log").write_text(trace + "\n")
    (place / "app.jsonl").write_text(
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {"time": at.format(5), "host": "arm-1", "msg": goes, "trace_id": "t1"},
                {"time": at.format(42), "host": "db-2", "exe": "/app/glibc-too-old/prog-x86_64", "stderr": floor},
                {
                    "time": at.format(50),
                    "host": "w-1",
                    "msg": "worker failed: signal: killed",
                    "unit": "worker.service",
                },
            )
        )
    )
    terminated = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": at.format(52)}
    (place / "pods.json").write_text(json.dumps({"kind": "List", "items": [
        {"kind": "Pod", "metadata": {"name": "worker-0"}, "spec": {"nodeName": "w-1"}, "status": {"containerStatuses": [
            {"name": "worker", "image": "w", "imageID": "w@" + digest, "lastState": {"terminated": terminated},
             "state": {"waiting": {"reason": "CrashLoopBackOff",
                                   "message": "back-off 5m0s restarting failed container"}}}]}},
    ]}))  # fmt: skip
    (place / "events.json").write_text(json.dumps({"kind": "List", "items": [
        {"kind": "Event", "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container",
         "involvedObject": {"kind": "Pod", "name": "worker-0"}, "lastTimestamp": at.format(55)},
        {"kind": "Event", "type": "Warning", "reason": "OOMKilling", "message": OOM, "source": {"host": "w-1"},
         "involvedObject": {"kind": "Node", "name": "w-1"}, "lastTimestamp": at.format(49)},
    ]}))  # fmt: skip
    (place / "dmesg").write_text(f"[Thu Nov 26 14:00:49 2026] host=w-1 {OOM}\n")
    (place / "spans.json").write_text(json.dumps({"resourceSpans": [{
        "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "arm-1"}}]},
        "scopeSpans": [{"spans": [
            {"traceId": "t1", "startTimeUnixNano": "1795701605000000000", "status": {"code": 2, "message": goes}},
            {"traceId": "t2", "startTimeUnixNano": "1795701642000000000", "attributes": [
                {"key": "host.name", "value": {"stringValue": "db-2"}}],
             "status": {"code": 2, "message": floor}}]}]}]}))  # fmt: skip
    return place


def test_seventeen_symptoms_of_three_causes_converge_to_three(tmp_path: Path) -> None:
    found = concluded(planted(tmp_path))
    assert {(item.cause, item.sure) for item in found.causes} == {
        ("wrong-machine", "certain"), ("glibc-too-old", "certain"), ("oom-killed", "certain"),
    }  # fmt: skip
    assert len(found.causes) == 3
    assert sum(item.count for item in found.causes) == 17
    assert not found.unknown


def test_an_oom_kill_a_crash_and_a_kill_are_told_apart(tmp_path: Path) -> None:
    at = "2026-11-26T14:{:02d}:00Z"
    (tmp_path / "log").write_text(
        f"{at.format(1)} host=a {OOM}\n{at.format(1)} host=a worker: signal: killed\n"
        f"{at.format(1)} host=b other: signal: killed\n"
        f"{at.format(1)} host=c [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4911e0]\n"
    )
    found = {item.hosts[0]: item for item in concluded(tmp_path / "log").causes}
    assert (found["a"].cause, found["a"].sure, found["a"].count) == ("oom-killed", "certain", 2)
    assert (found["b"].sure, set(dict(found["b"].candidates))) == ("open", {"oom-killed", "killed"})
    assert (found["c"].cause, found["c"].sure) == ("crash", "certain")


def test_what_differs_stays_apart(tmp_path: Path) -> None:
    missing = "/app/{0}: error while loading shared libraries: lib{1}.so: cannot open shared object file: No such file"
    lines = [f"host=a {missing.format('x', 'one')} or directory", f"host=a {missing.format('x', 'two')} or directory",
             f"host=b image=sha256:{'1' * 64} {ENOEXEC}", f"host=b image=sha256:{'2' * 64} {ENOEXEC}"]  # fmt: skip
    (tmp_path / "log").write_text("\n".join(lines))
    assert len(concluded(tmp_path / "log").causes) == 4


def test_records_decide_what_the_words_leave_open(tmp_path: Path) -> None:
    record = {"cell": "server_amd64", "artifact": {"name": "server", "sha256": "0" * 64}, "inputs_digest": "x",
              "goarch": "amd64"}  # fmt: skip
    (tmp_path / "record.json").write_text(json.dumps(record, indent=1))
    (tmp_path / "log").write_text(f"host=a arch=aarch64 {ENOEXEC}\n")
    (found,) = concluded(tmp_path, settled=True).causes
    assert (found.cause, found.sure) == ("wrong-machine", "certain")
    (tmp_path / "log").write_text(f"host=a arch=x86_64 {ENOEXEC}\n")
    assert concluded(tmp_path, settled=True).causes[0].sure == "open"


def test_a_verdict_that_contradicts_the_symptoms_is_told_and_not_believed(tmp_path: Path) -> None:
    verdict = {"path": "/app/server", "stage": "loader", "cause": "missing-library", "certain": True, "depends": []}
    (tmp_path / "v.jsonl").write_text(json.dumps(verdict) + "\n")
    (tmp_path / "log").write_text(ENOEXEC + "\n")
    (found,) = concluded(tmp_path).causes
    assert found.cause == "wrong-machine" and found.sure == "open"
    assert "missing-library" in found.against[0]


def test_the_unknown_is_listed_and_not_forced(tmp_path: Path) -> None:
    lines = ["/x: error while loading shared libraries: libz.so: words of a later glibc", "fork/exec /y: no such errno",
             "Error relocating /z: something new"]  # fmt: skip
    (tmp_path / "log").write_text("\n".join(lines) + "\nan ordinary line with an error in it\n")
    found = concluded(tmp_path / "log")
    assert not found.causes
    assert sorted(item.text for item in found.unknown) == sorted(lines)


def test_every_cause_that_a_pattern_names_is_in_the_catalogue() -> None:
    named = {row.slug for row in CATALOGUE.values()}
    groups = {"errno": "1", "signal": "9", "exit": "1", "version": "GLIBC_2.1", "program": "/x", "object": "y"}
    for pattern in matcher.PATTERNS:
        assert set(pattern.weigh(groups) or ()) <= named, pattern.name


def test_every_pattern_has_its_anchor_in_what_it_matches() -> None:
    """The prefilter would hide a message whose anchor is no part of it."""
    for row in rows():
        for line in row["lines"]:
            found = matcher.recognise(line, Context())
            if found is not None:
                anchored = [pattern.anchor for pattern in matcher.PATTERNS if pattern.name == found.pattern]
                assert any(anchor in line for anchor in anchored)


# Reports


def test_the_four_levels_are_there_for_every_cause(tmp_path: Path, capsys: Any) -> None:
    place = planted(tmp_path)
    page = tmp_path / "page.html"
    assert cli.main(["converge", "--json", "--html", str(page), str(place)]) == errors.EXIT_FINDINGS
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == report.SCHEMA
    for item in document["causes"]:
        assert all(item["evidence"][level] for level in conclusion.LEVELS)
        assert item["fix"] and item["title"]
    assert page.read_text().count("<h3>") == 3
    assert cli.main(["converge", str(place)]) == errors.EXIT_FINDINGS
    assert "17 symptoms in 7 inputs come from 3 root causes" in capsys.readouterr().out


def test_nothing_out_of_a_log_reaches_terminal_or_page_raw(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "log").write_text("fork/exec /app/\x1b[31m<script>: exec format error\n")
    page = tmp_path / "page.html"
    cli.main(["converge", "--html", str(page), str(tmp_path / "log")])
    assert "\x1b" not in capsys.readouterr().out
    assert "<script>" not in page.read_text()


def test_a_log_without_symptoms_is_clean(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "log").write_text("started\nstopped\n")
    assert cli.main(["converge", str(tmp_path / "log")]) == errors.EXIT_OK
    assert cli.main(["converge", str(tmp_path / "nothing")]) == errors.EXIT_USAGE


# Size


def test_a_million_lines_take_seconds_in_bounded_memory(tmp_path: Path) -> None:
    """Seconds of this process: 15 is what a busy machine may take for what takes two."""
    block = "".join(f"2026-11-26T14:00:{i % 60:02d}Z host-{i % 9} svc[{i}]: GET /api/v1/items 200 {i} ms\n"
                    for i in range(999)) + f"2026-11-26T14:00:01Z host=arm-1 {ENOEXEC}\n"  # fmt: skip
    path = tmp_path / "log"
    with path.open("w") as stream:
        for _ in range(1000):
            stream.write(block)
    matcher.recognise("", Context())
    tracemalloc.start()
    begun = time.process_time()
    (found,) = concluded(path).causes
    seconds, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count == 1000
    assert seconds < 15
    assert peak < 32 << 20


def test_what_is_told_apart_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_KEYS", 50)
    (tmp_path / "log").write_text("".join(f"fork/exec /app/{i}: exec format error\n" for i in range(80)))
    found = concluded(tmp_path / "log")
    assert found.lost == 30
    assert sum(item.count for item in found.causes) == 50


def test_a_line_without_an_end_is_read_in_pieces(tmp_path: Path) -> None:
    assert told(tmp_path, b"x" * (3 << 20) + b" " + ENOEXEC.encode())


@given(st.lists(st.binary(min_size=1, max_size=4).filter(lambda word: b"\n" not in word), min_size=1, max_size=8),
       st.binary(max_size=200))  # fmt: skip
def test_the_automaton_finds_what_searching_finds(literals: list[bytes], text: bytes) -> None:
    expected, start = [], 0
    for line in text.split(b"\n"):
        if any(word in line for word in literals):
            expected.append((start, start + len(line)))
        start += len(line) + 1
    assert elf.Literals(literals).lines(text) == expected


def test_more_lines_than_fit_into_one_answer() -> None:
    assert len(elf.Literals([b"x"]).lines(b"ax\n" * 5000)) == 5000


@pytest.mark.parametrize("literals", [[b""], [b"a\nb"], [b"x" * 65536]], ids=["empty", "newline", "too many"])
def test_literals_that_cannot_be_looked_for(literals: list[bytes]) -> None:
    with pytest.raises(errors.UsageError):
        elf.Literals(literals)
