import http.server
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from abair_pl.data.streaming import fetch
from abair_pl.data.streaming.archive import read_samples
from abair_pl.data.streaming.fetch import ATTEMPTS, ShardOpener, read_url
from abair_pl.errors import ShardError


class Server:
    """Serves one shard on the loopback; counts requests, and misbehaves as told."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[str] = []
        self.failures: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                failure = outer.failures.pop(0) if outer.failures else ""
                if failure.isdigit():
                    self.send_error(int(failure))
                    return
                if failure.startswith("to "):
                    self.send_response(302)
                    self.send_header("Location", failure.removeprefix("to "))
                    self.end_headers()
                    return
                self.send_response(200)
                if failure != "cut, size unknown":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if failure else data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def shard(clean_shards: Path) -> bytes:
    """A shard of three photographs."""
    return (clean_shards / "clean-000000.tar").read_bytes()


@pytest.fixture
def server(shard: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the shard under every path; waiting between attempts is cut short."""
    monkeypatch.setattr(fetch, "BACKOFF_S", 0.001)
    running = Server(shard)
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``aws(script)``: put a program of that name first on the PATH."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "aws").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "aws").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def _read(opener: ShardOpener, shard: str) -> bytes:
    with opener(shard) as file:
        return file.read()


class TestHttp:
    def test_a_shard_is_downloaded_whole(self, server: Server, shard: bytes) -> None:
        assert _read(ShardOpener(), f"{server.url}/a.tar") == shard

    def test_its_samples_are_read(self, server: Server) -> None:
        keys = [sample["__key__"] for sample in read_samples([f"{server.url}/a.tar"])]
        assert keys == ["p00", "p01", "p02"]

    @pytest.mark.parametrize("failure", ["503", "429", "cut"])
    def test_passing_trouble_is_passed_over(self, server: Server, shard: bytes, failure: str) -> None:
        server.failures = [failure] * (ATTEMPTS - 1)
        assert _read(ShardOpener(), f"{server.url}/a.tar") == shard
        assert len(server.requests) == ATTEMPTS

    @pytest.mark.parametrize("failure", ["503", "cut"])
    def test_lasting_trouble_names_the_address(self, server: Server, failure: str) -> None:
        server.failures = [failure] * 9
        with pytest.raises(ShardError, match=rf"{server.url}/a\.tar cannot be downloaded in {ATTEMPTS} attempts"):
            _read(ShardOpener(), f"{server.url}/a.tar")

    def test_what_is_not_there_is_asked_for_once(self, server: Server) -> None:
        server.failures = ["404"]
        with pytest.raises(ShardError, match=r"a\.tar cannot be downloaded \(.*404"):
            _read(ShardOpener(), f"{server.url}/a.tar")
        assert len(server.requests) == 1

    def test_a_download_of_unknown_size_must_end_as_shards_do(self, server: Server) -> None:
        server.failures = ["cut, size unknown"]
        with pytest.raises(ShardError, match=r"a\.tar has no end, so it was cut short"):
            _read(ShardOpener(), f"{server.url}/a.tar")

    def test_nobody_there_is_named(self, server: Server) -> None:
        server.server.shutdown()
        server.server.server_close()
        with pytest.raises(ShardError, match=r"a\.tar cannot be downloaded .*refused"):
            _read(ShardOpener(), f"{server.url}/a.tar")

    def test_secrets_of_an_address_are_not_shown(self, server: Server) -> None:
        server.failures = ["404"]
        with pytest.raises(ShardError) as error:
            _read(ShardOpener(), f"{server.url}/a.tar?signature=secret")
        assert "secret" not in str(error.value)
        assert server.requests == ["/a.tar?signature=secret"]

    def test_a_server_may_send_us_on(self, server: Server, shard: bytes) -> None:
        server.failures = [f"to {server.url}/b.tar", "to /c.tar"]
        assert _read(ShardOpener(), f"{server.url}/a.tar") == shard
        assert server.requests == ["/a.tar", "/b.tar", "/c.tar"]

    @pytest.mark.parametrize(
        "place", ["file:///etc/passwd", "ftp://host/a.tar", "data:,x", "FILE:///etc/passwd", "s3://b/a"]
    )
    def test_a_server_may_not_send_us_out_of_the_web(self, server: Server, place: str) -> None:
        server.failures = [f"to {place}"]
        with pytest.raises(ShardError, match=rf"a\.tar cannot be downloaded \(.*{place.partition(':')[0]}") as error:
            _read(ShardOpener(), f"{server.url}/a.tar")
        assert any(said in str(error.value) for said in ("is not allowed", "expected http:// or https://"))
        assert server.requests == ["/a.tar"]

    def test_from_https_we_are_not_sent_to_http(self) -> None:
        request = urllib.request.Request("https://host/a.tar")
        redirects = fetch._SafeRedirects()
        with pytest.raises(ValueError, match=r"sends us to http://host/b\.tar; expected https://"):
            redirects.redirect_request(request, None, 302, "", {}, "http://host/b.tar")
        assert redirects.redirect_request(request, None, 302, "", {}, "https://host/b.tar") is not None

    def test_a_circle_of_addresses_ends(self, server: Server) -> None:
        server.failures = [f"to {server.url}/a.tar"] * 99
        with pytest.raises(ShardError, match=r"a\.tar cannot be downloaded \(.*infinite loop"):
            _read(ShardOpener(), f"{server.url}/a.tar")

    @pytest.mark.parametrize("address", ["ht tp", "a b"])
    def test_an_address_that_is_none_is_asked_for_once(self, address: str) -> None:
        with pytest.raises(ShardError, match="cannot be downloaded "):
            _read(ShardOpener(), f"http://{address}:80:80/a.tar")

    def test_an_endless_shard_is_not_taken(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetch, "MAX_SHARD_BYTES", 1000)
        with pytest.raises(ShardError, match=r"a\.tar cannot be downloaded \(more than the 1000 bytes"):
            _read(ShardOpener(), f"{server.url}/a.tar")

    def test_each_wait_is_told_and_longer_than_the_one_before(
        self, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr("time.sleep", waits.append)
        monkeypatch.setattr(fetch, "BACKOFF_S", 0.5)
        server.failures = ["503"] * 3
        _read(ShardOpener(), f"{server.url}/a.tar?sign=secret")
        assert [0.25 * 2**index <= wait <= 0.75 * 2**index for index, wait in enumerate(waits)] == [True] * 3
        assert len(caplog.messages) == 3
        assert caplog.messages[2].startswith(
            f"{server.url}/a.tar: HTTP Error 503: Service Unavailable; attempt 4 of 8 in "
        )

    def test_waiting_draws_no_number_of_the_training(self, server: Server) -> None:
        server.failures = ["503"] * 2
        random.seed(7)
        _read(ShardOpener(), f"{server.url}/a.tar")
        drawn = random.random()
        random.seed(7)
        assert drawn == random.random()

    def test_a_small_file_has_a_limit(self, server: Server, shard: bytes) -> None:
        assert read_url(f"{server.url}/manifest.json", len(shard)) == shard
        with pytest.raises(ShardError, match="more than the 10 bytes"):
            read_url(f"{server.url}/manifest.json", 10)

    def test_a_cached_shard_is_downloaded_once(self, server: Server, shard: bytes, tmp_path: Path) -> None:
        opener = ShardOpener(tmp_path / "cache")
        assert _read(opener, f"{server.url}/a.tar") == _read(opener, f"{server.url}/a.tar") == shard
        assert _read(opener, f"{server.url}/b.tar") == shard
        assert server.requests == ["/a.tar", "/b.tar"]

    @pytest.mark.parametrize("failure", ["cut", "cut, size unknown"])
    def test_a_cut_off_download_never_enters_the_cache(
        self, server: Server, shard: bytes, tmp_path: Path, failure: str
    ) -> None:
        opener = ShardOpener(tmp_path / "cache")
        server.failures = [failure] * ATTEMPTS
        with pytest.raises(ShardError, match=r"a\.tar"):
            _read(opener, f"{server.url}/a.tar")
        assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size] == []
        server.failures = []
        assert _read(opener, f"{server.url}/a.tar") == shard


class TestS3:
    def test_aws_is_run_without_a_shell(
        self, aws: Callable[[str], None], clean_shards: Path, shard: bytes, tmp_path: Path
    ) -> None:
        aws(f'printf "%s\\n" "$@" > {tmp_path}/arguments; cat {clean_shards}/clean-000000.tar')
        url = f"s3://bucket/$(touch {tmp_path}/run).tar; touch {tmp_path}/run"
        assert _read(ShardOpener(), url) == shard
        assert (tmp_path / "arguments").read_text().splitlines() == ["s3", "cp", "--only-show-errors", url, "-"]
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("name", ["-x.tar", "--endpoint-url=http://evil", "a b;c|d", "`id`", "$HOME", "x\n--debug"])
    def test_whatever_a_name_holds_it_is_one_argument(
        self, aws: Callable[[str], None], clean_shards: Path, tmp_path: Path, name: str
    ) -> None:
        aws(f'printf "%s\\0" "$@" > {tmp_path}/arguments; cat {clean_shards}/clean-000000.tar')
        _read(ShardOpener(), f"s3://{name}/{name}")
        arguments = (tmp_path / "arguments").read_text().split("\0")
        assert arguments == ["s3", "cp", "--only-show-errors", f"s3://{name}/{name}", "-", ""]

    def test_its_failure_is_one_line(self, aws: Callable[[str], None]) -> None:
        aws('echo >&2; echo "fatal error: An error occurred (403): Forbidden" >&2; exit 1')
        with pytest.raises(ShardError, match=r"s3://b/a\.tar: aws failed with status 1 \(fatal.*Forbidden\)") as error:
            _read(ShardOpener(), "s3://b/a.tar")
        assert "\n" not in str(error.value)

    def test_a_download_cut_short_is_refused(self, aws: Callable[[str], None], clean_shards: Path) -> None:
        aws(f"head -c 2000 {clean_shards}/clean-000000.tar")
        with pytest.raises(ShardError, match=r"s3://b/a\.tar has no end"):
            _read(ShardOpener(), "s3://b/a.tar")

    def test_a_missing_aws_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ShardError, match="needs the program aws, which is not installed"):
            _read(ShardOpener(), "s3://b/a.tar")


class TestPipe:
    def test_a_command_is_run_where_it_is_allowed(self, clean_shards: Path, shard: bytes) -> None:
        assert _read(ShardOpener(allow_pipe=True), f"pipe:cat {clean_shards}/clean-000000.tar | cat") == shard

    def test_else_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ShardError, match=r"would run a shell command.*--data\.allow_pipe true"):
            _read(ShardOpener(), f"pipe:touch {tmp_path}/run")
        assert not (tmp_path / "run").exists()

    def test_its_failure_is_named(self) -> None:
        with pytest.raises(ShardError, match=r"pipe:echo no >&2; exit 3: the command failed with status 3 \(no\)"):
            _read(ShardOpener(allow_pipe=True), "pipe:echo no >&2; exit 3")


def test_local_shards_are_opened_where_they_are(clean_shards: Path, shard: bytes, tmp_path: Path) -> None:
    opener = ShardOpener(tmp_path / "cache")
    file: IO[bytes]
    with opener(str(clean_shards / "clean-000000.tar")) as file:
        assert file.read() == shard
        assert file.name == str(clean_shards / "clean-000000.tar")
    assert not (tmp_path / "cache").exists()


def test_an_address_with_a_space_shows_no_token() -> None:
    with pytest.raises(ShardError, match=r"cannot be downloaded \(it has spaces or control characters\)") as error:
        read_url("http://localhost/a b.tar?token=SECRET", 100)
    assert "SECRET" not in str(error.value)
