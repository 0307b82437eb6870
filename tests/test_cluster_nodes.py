"""Two nodes, each in a network namespace of its own, joined by a pair of virtual Ethernet devices."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from abair_pl.bundle import Bundle

CONFIGS = Path(__file__).parents[1] / "configs"
NODES = ("abair-a", "abair-b")
ADDRESSES = ("10.99.7.1", "10.99.7.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def nodes() -> Iterator[None]:
    """The two namespaces, where this machine lets us make them."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (iproute2)")
    try:
        for name in NODES:
            ip("netns", "add", name)
        ip("link", "add", "veth0", "netns", NODES[0], "type", "veth", "peer", "name", "veth0", "netns", NODES[1])
        for name, address in zip(NODES, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "veth0")
            for device in ("veth0", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine allows no network namespaces: {error.stderr.strip()}")
    finally:
        for name in NODES:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_two_nodes_train_validate_and_write_one_bundle(sample_shards: Path, tmp_path: Path) -> None:
    """Each node has a working directory and shards of its own; runs are written where both see them."""
    shared = tmp_path / "shared"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--rdzv-id", "two-nodes"),
        *("-m", "abair_pl.cli", "fit", "--config", str(CONFIGS / "pretrain.yaml")),
        *("--config", str(CONFIGS / "trainer" / "ddp.yaml")),
        *("--config", str(CONFIGS / "trainer" / "ddp_multinode.yaml"), "--trainer.devices", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.max_steps", "4", "--trainer.val_check_interval", "2"),
        *("--model.preset", "tiny", "--model.save_to", str(shared / "bundle"), "--data.train", "train"),
        *("--data.val", "val", "--data.workers", "0", "--data.batch_size", "4", "--data.patch_px", "32"),
        *("--data.val_patch_px", "32", "--trainer.default_root_dir", str(shared), "--resume", "auto"),
        *("--trainer.logger.save_dir", str(shared), "--trainer.enable_model_summary", "false"),
    ]
    running = []
    for index, (name, address) in enumerate(zip(NODES, ADDRESSES, strict=True)):
        folder = tmp_path / name
        for part in ("train", "val"):
            shutil.copytree(sample_shards / part, folder / part)
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "veth0", "OMP_NUM_THREADS": "1"}
        node = ["ip", "netns", "exec", name, *command]
        launcher = node.index("torch.distributed.run") + 1
        # Both have the host's name, by which torchrun would find out which of them keeps the store.
        node[launcher:launcher] = ["--local-addr", address, "--rdzv-conf", f"is_host={int(index == 0)}"]
        log = (tmp_path / f"{name}.log").open("w")
        running.append(subprocess.Popen(node, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        ends = [process.wait(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    logs = {name: (tmp_path / f"{name}.log").read_text() for name in NODES}
    assert ends == [0, 0], "\n".join(text[-3000:] for text in logs.values())
    facts = Bundle.open(shared / "bundle").config.provenance["pretrain"]
    assert (facts["steps"], facts["samples_seen"], facts["devices"]) == (4, 16, 2)
    assert sum(text.count("bundle written to") for text in logs.values()) == 1
    for name in NODES:
        left = {path.name for path in (tmp_path / name).iterdir()}
        assert left == {"train", "val"}, "a node writes nothing but to what is shared"
    (metrics,) = shared.rglob("metrics.csv")
    assert "val/psnr" in metrics.read_text()
