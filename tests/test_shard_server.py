"""Training from a shard server that fails, and sources that would run commands, through the command line."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from abair_pl.cli import main
from abair_pl.data.streaming import fetch

CONFIGS = Path(__file__).parents[1] / "configs"


class ShardServer:
    """Serves a folder on the loopback, and answers so many requests for shards with 503 first."""

    def __init__(self, folder: Path) -> None:
        self.failures = 0
        self.asked = 0
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if ".tar" in self.path:
                    outer.asked += 1
                    if outer.failures > 0:
                        outer.failures -= 1
                        self.send_error(503)
                        return
                super().do_GET()

            def log_message(self, *arguments: object) -> None:
                pass

        def handler(*arguments: object) -> Handler:
            return Handler(*arguments, directory=str(folder))  # type: ignore[arg-type]

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(sample_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    """Serves the training shards; waiting between attempts is cut short."""
    monkeypatch.setattr(fetch, "BACKOFF_S", 0.001)
    running = ShardServer(sample_shards / "train")
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def fit(sample_shards: Path, bundle_path: Path, tmp_path: Path) -> list[str]:
    """Two steps of phase III, but for ``--data.train``."""
    return [
        *("fit", "--config", str(CONFIGS / "estimator.yaml"), "--model.init_from", str(bundle_path)),
        *("--model.save_to", str(tmp_path / "bundle"), "--data.val", str(sample_shards / "val")),
        *("--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / "run")),
        *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
        *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2"),
        *("--trainer.logger.save_dir", str(tmp_path)),
    ]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_server_that_answers_503_three_times_is_waited_for(
    workers: str, server: ShardServer, fit: list[str], tmp_path: Path
) -> None:
    server.failures = 3
    shards = f"{server.url}/train-{{000000..000001}}.tar"
    assert main([*fit, "--data.train", shards, "--data.workers", workers]) == 0
    assert server.failures == 0
    assert server.asked > 3
    assert (tmp_path / "bundle" / "config.json").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_server_that_is_lost_ends_the_run_in_one_line_with_its_address(
    workers: str, server: ShardServer, fit: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.failures = 10**6
    shards = f"{server.url}/train-{{000000..000001}}.tar?sign=secret"
    assert main([*fit, "--data.train", shards, "--data.workers", workers]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("abair-pl: error: ")]
    assert len(lines) == 1
    tries = rf"cannot be downloaded in {fetch.ATTEMPTS} attempts \(HTTP Error 503.*\); check the address"
    assert re.search(rf"{server.url}/train-00000[01]\.tar {tries}", lines[0])
    assert "secret" not in lines[0]
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("place", ["train", "val", "test"])
def test_a_command_in_a_configuration_is_not_run_unless_it_is_allowed(
    place: str, sample_shards: Path, fit: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    configuration = tmp_path / "data.yaml"
    configuration.write_text(f"data:\n  init_args:\n    {place}: 'pipe:touch {mark}; cat x.tar'\n")
    train = [] if place == "train" else ["--data.train", str(sample_shards / "train")]
    given = [option for option in fit if place != "val" or option not in ("--data.val", str(sample_shards / "val"))]
    command = "test" if place == "test" else "fit"
    arguments = [command, *given[1:3], "--config", str(configuration), *given[3:], *train, "--data.workers", "0"]
    assert main(arguments) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("abair-pl: error: ")]
    assert "would run a shell command; expected" in line
    assert "--data.allow_pipe true, where you trust it" in line
    assert not mark.exists()


def test_a_command_that_is_allowed_is_run(sample_shards: Path, fit: list[str], tmp_path: Path) -> None:
    shard = sample_shards / "train" / "train-000000.tar"
    mark = tmp_path / "mark"
    source = f"pipe:touch {mark}; cat {shard}"
    assert main([*fit, "--data.train", source, "--data.allow_pipe", "true", "--data.workers", "0"]) == 0
    assert mark.exists()
