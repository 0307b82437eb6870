"""Opening shards: files as they are, https:// and s3:// and commands by way of a whole download."""

import http.client
import logging
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import IO, Any

from abair_pl.data.streaming.cache import ShardCache
from abair_pl.data.streaming.sources import check_address, is_remote, shown
from abair_pl.errors import ShardError, one_line

ATTEMPTS = 8
BACKOFF_S = 0.5
"""Before the second attempt, give or take half of it; twice as long before each further one: about a minute in all."""

TIMEOUT_S = 60.0
"""How long a server may be silent."""

MAX_SHARD_BYTES = 32 << 30
_BLOCK_BYTES = 1 << 20
_jitter = SystemRandom()  # so that the workers of a cluster do not all come back at once; no draw of the training's
_log = logging.getLogger(__name__)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True)
class ShardOpener:
    """Opens shards wherever they are.

    Attributes:
        cache_dir: Where downloaded shards are kept; None for a temporary file that goes when it is closed.
        cache_gb: What they may take there, in 10^9 bytes; None for no limit.
        allow_pipe: Whether ``pipe:`` may run a shell command.
    """

    cache_dir: Path | None = None
    cache_gb: float | None = None
    allow_pipe: bool = False

    @contextmanager
    def __call__(self, shard: str) -> Iterator[IO[bytes]]:
        """Open a shard.

        Args:
            shard: A path, an ``http://``, ``https://`` or ``s3://`` URL, or ``pipe:`` and a shell command.

        Yields:
            A file at its start, that holds the whole shard.

        Raises:
            ShardError: It cannot be opened or downloaded whole, or is a command and none is allowed.
        """
        check_address(shard, self.allow_pipe)
        if not is_remote(shard):
            with Path(shard).open("rb") as file:
                yield file
        elif self.cache_dir is not None:
            with ShardCache(self.cache_dir, self.cache_gb).open(shard, download) as file:
                yield file
        else:
            with tempfile.TemporaryFile(prefix="abair-shard-") as scratch:
                download(shard, scratch)
                scratch.seek(0)
                yield scratch


def download(shard: str, target: IO[bytes]) -> None:
    """Write the whole shard of a URL to a file.

    Args:
        shard: An ``http://``, ``https://`` or ``s3://`` URL, or ``pipe:`` and a shell command, which is run.
        target: A seekable file, open for writing.

    Raises:
        ShardError: The shard cannot be had, is compressed, or is cut short.
    """
    if shard.startswith("pipe:"):
        _run(shard.removeprefix("pipe:"), shard, target)
    elif shard.startswith("s3://"):
        _run(["aws", "s3", "cp", "--only-show-errors", shard, "-"], shard, target)
    else:
        _get(shard, target, MAX_SHARD_BYTES)
    target.flush()
    check_plain(target, shard)
    if not _is_whole(target):
        message = f"{shown(shard)} has no end, so it was cut short, or is no .tar file; copy or build it again"
        raise ShardError(message)


def check_plain(file: IO[bytes], shard: str) -> None:
    """Refuse a compressed archive, of which a few bytes may fill the memory; the file is at its start afterwards.

    Raises:
        ShardError: The file is gzip, bzip2, xz or zstd.
    """
    file.seek(0)
    compressed = file.read(6).startswith(_COMPRESSED)
    file.seek(0)
    if compressed:
        message = f"{shown(shard)} is a compressed archive; expected a plain .tar file: unpack it, or build it again"
        raise ShardError(message)


def read_url(url: str, limit_bytes: int) -> bytes:
    """A small file beside shards.

    Raises:
        ShardError: It cannot be had, or is larger than the limit.
    """
    with tempfile.TemporaryFile() as scratch:
        if url.startswith("s3://"):
            _run(["aws", "s3", "cp", "--only-show-errors", url, "-"], url, scratch)
        else:
            _get(url, scratch, limit_bytes)
        if scratch.tell() > limit_bytes:
            message = f"{shown(url)} has {scratch.tell()} bytes; expected at most {limit_bytes}"
            raise ShardError(message)
        scratch.seek(0)
        return scratch.read()


def _run(command: str | list[str], shard: str, target: IO[bytes]) -> None:
    """Run a program, or a shell's command line, that prints a shard."""
    shell = isinstance(command, str)
    try:
        done = subprocess.run(  # noqa: S603 - a shell only where allow_pipe says so
            command, shell=shell, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.PIPE, check=False
        )
    except FileNotFoundError as error:
        message = f"{shown(shard)}: s3:// needs the program aws, which is not installed; see https://aws.amazon.com/cli"
        raise ShardError(message) from error
    target.seek(0, 2)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else "it said nothing"
        program = "the command" if shell else "aws"
        message = f"{shown(shard)}: {program} failed with status {done.returncode} ({reason})"
        raise ShardError(message)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other addresses of the web, and never from https to where others may listen."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The request for the new address; ``ValueError`` for one that is not followed."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if newurl.partition(":")[0].lower() not in allowed:
            message = f"the server sends us to {shown(newurl)}; expected {' or '.join(f'{a}://' for a in allowed)}"
            raise ValueError(message)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens addresses of the web alone, whereas urllib's own would open files and ftp, too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _get(url: str, target: IO[bytes], limit_bytes: int) -> None:
    """Download by HTTP; what may be passing is tried again, from the start."""
    for attempt in range(1, ATTEMPTS + 1):
        target.seek(0)
        target.truncate()
        try:
            _copy(url, target, limit_bytes)
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            lasting = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
            if lasting or isinstance(error, ValueError | http.client.InvalidURL) or attempt == ATTEMPTS:
                tries = "" if attempt == 1 else f" in {attempt} attempts"
                odd = isinstance(error, http.client.InvalidURL)  # whose text has all of the address, password and query
                said = "it has spaces or control characters" if odd else one_line(str(error))
                message = f"{shown(url)} cannot be downloaded{tries} ({said}); check the address and the connection"
                raise ShardError(message) from error
            wait_s = BACKOFF_S * 2 ** (attempt - 1) * _jitter.uniform(0.5, 1.5)
            said = one_line(str(error))
            _log.warning("%s: %s; attempt %d of %d in %.1f s", shown(url), said, attempt + 1, ATTEMPTS, wait_s)
            time.sleep(wait_s)


def _copy(url: str, target: IO[bytes], limit_bytes: int) -> None:
    with _opener().open(url, timeout=TIMEOUT_S) as response:
        promised = response.headers.get("Content-Length")
        received = 0
        while block := response.read(_BLOCK_BYTES):
            target.write(block)
            received += len(block)
            if received > limit_bytes:
                message = f"more than the {limit_bytes} bytes that it may have"
                raise ValueError(message)
        if promised is not None and received != int(promised):
            message = f"cut off after {received} of {promised} bytes"
            raise ConnectionError(message)


def _is_whole(file: IO[bytes]) -> bool:
    """Whether an archive ends as archives do: with two empty blocks."""
    size = file.seek(0, 2)
    file.seek(max(size - 1024, 0))
    return file.read(1024) == bytes(1024)
