"""``make bench``: speed as ratios, each pair of candidates measured alternately in one run."""

import torch
from tests.bench.blend import bench_blend
from tests.bench.export import bench_export
from tests.bench.loader import bench_loader
from tests.bench.network import bench_network
from tests.bench.scaling import bench_scaling
from tests.bench.synthesizer import bench_share_of_step, bench_synthesizer

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device.type}")
    bench_network(device, batch=8 if device.type == "cuda" else 1)
    bench_blend(device, "paper", rounds=3)
    bench_blend(device, "tiny")
    bench_export("tiny")
    bench_synthesizer(device, batch=256 if device.type == "cuda" else 30)
    bench_share_of_step(device, "paper" if device.type == "cuda" else "tiny")
    bench_loader()
    bench_scaling()
