"""The review server over HTTP: what it refuses, what it serves, and that a decision is on disk before the answer."""

import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from PIL import Image

from bestiary.errors import CorrectionsError, StudyError, UsageError
from bestiary.review.server import MOST_BODY_BYTES, ReviewServer

CAT, OTHER, DOG = "cat/000.png", "cat/001.png", "dog/000.png"


def ask(
    server: ReviewServer, name: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    """One request with the right token; `headers` replace or, where empty, take away those of the page itself."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    own = {"Host": f"127.0.0.1:{server.port}"}
    if method == "POST":
        origin = f"http://127.0.0.1:{server.port}"
        own |= {"Origin": origin, "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    own |= {key.replace("_", "-"): value for key, value in headers.items()}
    connection.putrequest(method, f"/{server.token}/{name}", skip_host=True, skip_accept_encoding=True)
    if body is not None and "Content-Length" not in own:
        own["Content-Length"] = str(len(body))
    for key, value in own.items():
        if value:
            connection.putheader(key, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def change(
    image_id: str, action: str, label: str = "", *, was: Any = None, issue: str = "label_error", **more: Any
) -> dict[str, Any]:
    return {"image_id": image_id, "action": action, "label": label, "issue": issue, "was": was, **more}


def shown(action: str, label: str = "", *issues: str) -> dict[str, Any]:
    return {"action": action, "label": label, "issues": list(issues)}


def decide(server: ReviewServer, *changes: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    answer, content = ask(server, "decide", method="POST", body=json.dumps({"changes": changes}).encode(), **headers)
    return answer.status, json.loads(content) if answer.getheader("Content-Type") == "application/json" else {}


def test_the_page_and_its_parts_come_with_every_safeguard(shared_server) -> None:
    for name in (
        "",
        "review.css",
        "review.js",
        "queue.js",
        "view.js",
        "picker.js",
        "pictures.js",
        "elements.js",
        "icon.svg",
    ):
        answer, content = ask(shared_server, name)
        assert answer.status == 200, name
        assert content
        policy = answer.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("Referrer-Policy") == "no-referrer"


def test_every_part_that_the_page_names_is_served(shared_server) -> None:
    page = ask(shared_server, "")[1].decode()
    scripts = [ask(shared_server, name)[1].decode() for name in re.findall(r'src="([^"]+)"', page)]
    names = re.findall(r'(?:href|src)="([^"]+)"', page) + re.findall(r'from "\./([^"]+)"', "".join(scripts))
    assert len(names) > 5
    assert {ask(shared_server, name)[0].status for name in names} == {200}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "[::1]:{port}",
        "",
    ],
)
def test_another_host_is_refused(shared_server, host) -> None:
    for method, name in (("GET", ""), ("GET", "queue"), ("POST", "decide")):
        answer, _ = ask(
            shared_server,
            name,
            method=method,
            body=b"{}" if method == "POST" else None,
            Host=host.format(port=shared_server.port),
        )
        assert answer.status == 403
        assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_localhost_is_the_same_place(server, review) -> None:
    host = f"localhost:{server.port}"
    assert ask(server, "queue", Host=host)[0].status == 200
    status, _ = decide(server, change(review.ids[CAT], "keep"), Host=host, Origin=f"http://{host}")
    assert status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_another_origin_is_refused(shared_server, made_once, origin) -> None:
    origin = origin.format(port=shared_server.port)
    assert ask(shared_server, "queue", Origin=origin)[0].status == 403
    assert decide(shared_server, change(made_once.ids[CAT], "keep"), Origin=origin)[0] == 403
    assert made_once.corrections() == {}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_from_another_site_s_page_is_refused(shared_server, made_once, site) -> None:
    for name in ("", "queue", f"picture/small/{made_once.ids[CAT]}"):
        assert ask(shared_server, name, Sec_Fetch_Site=site)[0].status == 403
    assert decide(shared_server, change(made_once.ids[CAT], "keep"), Sec_Fetch_Site=site)[0] == 403
    assert made_once.corrections() == {}


def test_a_change_without_an_origin_is_refused_and_a_typed_address_is_not(shared_server, made_once) -> None:
    assert decide(shared_server, change(made_once.ids[CAT], "keep"), Origin="")[0] == 403
    assert decide(shared_server, change(made_once.ids[CAT], "keep"), Sec_Fetch_Site="none")[0] == 403
    assert ask(shared_server, "", Sec_Fetch_Site="none")[0].status == 200
    assert made_once.corrections() == {}


def test_without_the_secret_nothing_is_answered(shared_server) -> None:
    right = shared_server.token
    for token in ("", "x", right[:-1], right + "x", right.swapcase(), "..", "%2e%2e/" + right):
        connection = HTTPConnection("127.0.0.1", shared_server.port, timeout=10)
        connection.request("GET", f"/{token}/queue")
        assert connection.getresponse().status == 403, token
        connection.close()
    assert len(right) >= 32


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_wrong_methods_are_refused(shared_server, method) -> None:
    headers = {"Origin": f"http://127.0.0.1:{shared_server.port}", "Content_Type": "application/json"}
    answer, _ = ask(shared_server, "queue", method=method, body=b"{}", **headers)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET")
    if method != "POST":
        answer, _ = ask(shared_server, "decide", method=method, body=b"{}", **headers)
        assert (answer.status, answer.getheader("Allow")) == (405, "POST")
    assert ask(shared_server, "decide")[0].status == 405


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Length": str(MOST_BODY_BYTES + 1)}, None, 413),
        ({"Content_Length": "9" * 40}, None, 413),
        ({"Content_Length": "-1"}, None, 400),
        ({"Content_Length": "1_0"}, None, 400),
        ({}, None, 411),
        ({"Transfer_Encoding": "chunked"}, None, 411),
        ({"Content_Type": "text/plain"}, b"{}", 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, b"changes=1", 415),
        ({"Content_Type": ""}, b"{}", 415),
        ({}, b"", 400),
        ({}, b"\xff\xfe", 400),
        ({}, b"[]", 400),
        ({}, b"[" * 200_000, 400),
        ({}, b'{"changes": []}', 400),
        ({}, b'{"changes": [{"image_id": "x", "action": "eat", "issue": "dark", "was": null}]}', 400),
        ({}, b'{"changes": [{"image_id": 7, "action": "keep", "issue": "dark", "was": null}]}', 400),
        ({}, b'{"changes": [{"image_id": "x", "action": "keep", "issue": "dark", "was": null}], "path": "/"}', 400),
        ({}, b'{"changes": [{"image_id": "CAT", "action": "keep", "issue": "drak", "was": null}]}', 400),
        ({}, b'{"changes": [{"image_id": "CAT", "action": "keep", "was": null}]}', 400),
    ],
)
def test_bodies_that_cannot_be_are_refused(shared_server, made_once, headers, body, status) -> None:
    body = body and body.replace(b"CAT", made_once.ids[CAT].encode())
    assert ask(shared_server, "decide", method="POST", body=body, **headers)[0].status == status
    assert made_once.corrections() == {}
    assert ask(shared_server, "queue")[0].status == 200


def raw(server: ReviewServer, text: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")


def test_malformed_requests_are_refused(shared_server) -> None:
    host = f"Host: 127.0.0.1:{shared_server.port}\r\n"
    page = f"GET /{shared_server.token}/ HTTP/1.1\r\n"
    assert " 200 " in raw(shared_server, page + host + "\r\n")[:20]
    assert " 403 " in raw(shared_server, page + host + host + "\r\n")[:20]
    assert " 403 " in raw(shared_server, page + "\r\n")[:20]
    assert " 403 " in raw(shared_server, f"GET http://evil.example/{shared_server.token}/ HTTP/1.1\r\n{host}\r\n")[:20]
    assert " 501 " in raw(shared_server, f"BREW /{shared_server.token}/ HTTP/1.1\r\n{host}\r\n")[:20]
    assert raw(shared_server, f"GET /{shared_server.token}/ HTTP/2.0\r\n{host}\r\n").startswith("Invalid HTTP version")
    smuggled = raw(shared_server, page + host + "Content-Length: 40\r\n\r\n" + page + host + "\r\n")
    assert smuggled.count("HTTP/1.1") == 1
    assert " 400 " in smuggled[:20]


@pytest.mark.parametrize(
    "name",
    [
        "../study.toml",
        "..%2fstudy.toml",
        "study.toml",
        "corrections.csv",
        "/etc/passwd",
        "picture/small/../../study.toml",
        "picture/small/..%2f..%2fstudy.toml",
        "picture/small/cat/000.png",
        "picture/small/cat%2f000.png",
        "picture/small/",
        "picture/huge/{id}",
        "picture/small/{id}/",
        "picture/small/{id}%00",
        "picture/small/" + "0" * 20,
        "__init__.py",
        "review.html/",
        "static/review.js",
        "queue/",
    ],
)
def test_nothing_but_the_study_s_images_is_served(shared_server, made_once, name) -> None:
    answer, content = ask(shared_server, name.format(id=made_once.ids[CAT]))
    assert answer.status == 404
    assert b"[data]" not in content


def test_pictures_are_jpegs(shared_server, made_once) -> None:
    for size in ("large", "small"):
        answer, content = ask(shared_server, f"picture/{size}/{made_once.ids[CAT]}")
        assert (answer.status, answer.getheader("Content-Type")) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(content)).size == (64, 48)  # as small as it is


def test_a_picture_that_cannot_be_read_says_why(server, review) -> None:
    answer, content = ask(server, f"picture/large/{review.ids['cat/cut.png']}")
    assert answer.status == 410
    assert b"truncated" in content or b"damaged" in content
    Image.new("RGB", (9, 9)).save(review.data / CAT)
    answer, content = ask(server, f"picture/large/{review.ids[CAT]}")
    assert answer.status == 410
    assert b"changed" in content
    (review.data / OTHER).unlink()
    assert ask(server, f"picture/large/{review.ids[OTHER]}")[0].status == 410


def test_a_decision_is_on_disk_before_the_answer(server, review) -> None:
    cat, dog = review.ids[CAT], review.ids[DOG]
    status, told = decide(server, change(cat, "relabel", "dog"))
    assert status == 200
    assert review.corrections() == {CAT: ("relabel", "dog")}
    assert told["decisions"][cat]["reviewed_by"] == "ann"
    assert sorted(told["decided"].values()) == [False, True]  # that it is blurry, and its label error
    assert decide(server, change(cat, "drop", was=shown("relabel", "dog")), change(dog, "keep"))[0] == 200
    assert review.corrections() == {CAT: ("drop", ""), DOG: ("keep", "")}
    status, told = decide(server, change(cat, "undo", was=shown("drop")))
    assert status == 200
    assert told["decisions"] == {cat: None}
    assert review.corrections() == {DOG: ("keep", "")}


def test_what_was_decided_elsewhere_meanwhile_is_not_overwritten(server, review) -> None:
    cat, dog = review.ids[CAT], review.ids[DOG]
    assert decide(server, change(cat, "drop"))[0] == 200
    status, told = decide(server, change(dog, "keep"), change(cat, "keep"))
    assert status == 409
    assert "elsewhere" in told["error"]
    assert told["decisions"][cat]["action"] == "drop"
    assert review.corrections() == {CAT: ("drop", "")}


def test_impossible_decisions_are_refused_whole(shared_server, made_once) -> None:
    cat, unread = made_once.ids[CAT], made_once.ids["cat/cut.png"]
    for bad in (
        change(cat, "relabel", "unicorn"),
        change(cat, "relabel", "cat"),
        change(cat, "relabel"),
        change(cat, "keep", "dog"),
        change(unread, "drop"),
        change("0" * 20, "drop"),
        change(cat, "restore", former={**shown("relabel", "unicorn"), "reviewed_by": "", "reviewed_at": ""}),
        change(cat, "restore", former={**shown("keep", "dog"), "reviewed_by": "", "reviewed_at": ""}),
        change(made_once.ids[DOG], "drop"),  # the same image once more
    ):
        status, told = decide(shared_server, change(made_once.ids[DOG], "keep"), bad)
        assert status == 400
        assert told["error"]
    assert made_once.corrections() == {}


def test_a_decision_that_cannot_be_written_is_told_and_not_shown_as_done(server, review, monkeypatch) -> None:
    cat, dog = review.ids[CAT], review.ids[DOG]
    assert decide(server, change(dog, "keep"))[0] == 200
    kept = (review.folder / "corrections.csv").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    status, told = decide(server, change(cat, "drop"), change(dog, "undo", was=shown("keep", "", "label_error")))
    assert status == 500
    assert "No space left" in told["error"]
    assert told["decisions"][cat] is None
    assert told["decisions"][dog]["action"] == "keep"
    assert (review.folder / "corrections.csv").read_bytes() == kept
    assert sorted(file.name for file in review.folder.glob(".*.part")) == []


def test_a_file_that_a_hand_has_broken_is_told(server, review) -> None:
    (review.folder / "corrections.csv").write_text("path,action\ncat/000.png,eat\n")
    status, told = decide(server, change(review.ids[DOG], "keep"))
    assert status == 500
    assert "line 2" in told["error"]
    answer, content = ask(server, "queue")
    assert answer.status == 500
    assert b"line 2" in content
    assert (review.folder / "corrections.csv").read_text() == "path,action\ncat/000.png,eat\n"
    with pytest.raises(CorrectionsError, match="line 2"):
        ReviewServer(review.folder, reviewer="ann")


def test_rows_written_by_hand_count(server, review) -> None:
    (review.folder / "corrections.csv").write_text("path,action\ncat/000.png,keep\n")
    told = json.loads(ask(server, "queue")[1])
    assert [finding["issue"] for finding in told["findings"] if finding["decided"]] == ["label_error", "blurry"]


def test_a_stranger_s_long_body_is_not_read(shared_server) -> None:
    declared = {"Content_Length": str(8 * 2**20), "Origin": "http://evil.example"}
    answer, _ = ask(shared_server, "decide", method="POST", body=None, **declared)  # none of it is ever sent
    assert (answer.status, answer.getheader("Connection")) == (403, "close")


def test_many_at_once_lose_nothing(server, review) -> None:
    ids = [review.ids[f"{name}/{number:03d}.png"] for name in ("cat", "dog") for number in range(5)]
    with ThreadPoolExecutor(10) as pool:
        assert {status for status, _ in pool.map(lambda i: decide(server, change(i, "keep")), ids)} == {200}
        drop = change(ids[0], "drop", was=shown("keep", "", "label_error"))
        races = list(pool.map(lambda _: decide(server, drop)[0], range(6)))
    assert sorted(races) == [200, *[409] * 5]
    assert len(review.corrections()) == 10


def test_a_new_server_goes_on_where_the_last_one_was(review) -> None:
    first = ReviewServer(review.folder, reviewer="ann")
    first.start()
    decide(first, change(review.ids[CAT], "drop"))
    first.stop()
    second = ReviewServer(review.folder, reviewer="ben", port=first.port)
    second.start()
    told = json.loads(ask(second, "queue")[1])
    second.stop()
    assert second.token != first.token
    assert told["decisions"][review.ids[CAT]]["reviewed_by"] == "ann"
    assert (second.progress().decided, second.progress().total) == (2, 5)


def test_it_listens_on_loopback_alone(shared_server) -> None:
    assert shared_server.url.startswith(f"http://127.0.0.1:{shared_server.port}/")
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", shared_server.port), timeout=5)


def test_mistakes_of_the_caller_are_named(server, review, tmp_path) -> None:
    with pytest.raises(UsageError, match=f"port {server.port} is taken"):
        ReviewServer(review.folder, reviewer="ann", port=server.port)
    with pytest.raises(UsageError, match="port 70000"):
        ReviewServer(review.folder, reviewer="ann", port=70000)
    with pytest.raises(StudyError, match=r"no study\.toml"):
        ReviewServer(tmp_path, reviewer="ann")
    (review.folder / "audit.parquet").unlink()
    with pytest.raises(StudyError, match=r"audit\.parquet"):
        ReviewServer(review.folder, reviewer="ann")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_ending_the_server_loses_no_decision(review, end) -> None:
    code = (
        "import sys; from pathlib import Path; from bestiary.review.server import serve; "
        "done = serve(Path(sys.argv[1]), reviewer='ann', on_ready=lambda url: print(url, flush=True)); "
        "print(done.decided, 'of', done.total)"
    )
    command = [sys.executable, "-c", code, str(review.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        url = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/\n", process.stdout.readline())
        assert url

        class Here:
            port, token = int(url[1]), url[2]

        assert decide(Here, change(review.ids[CAT], "drop"))[0] == 200  # type: ignore[arg-type]
        process.send_signal(getattr(signal, end))
        code_after = process.wait(20)
        if end == "SIGINT":
            assert (code_after, process.stdout.read(), process.stderr.read()) == (0, "2 of 5\n", "")
    assert review.corrections() == {CAT: ("drop", "")}
