"""How much contrast samples have left when their latent vectors are truncated.

    gantrain train configs/quickstart.yaml
    python scripts/bench/truncation.py [RUN] [--samples 1000] [--output FILE]

A row has the standard deviation of all pixels, which lie in [-1, 1], over the samples, and that of the training images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from timing import machine

import gantrain as gt

THRESHOLDS = (None, 1.5, 1.0, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="checkpoints/quickstart")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    run = gt.load(options.run)
    lines = [f"$ python scripts/bench/truncation.py {' '.join(sys.argv[1:])}".rstrip(), machine()]
    lines.append(f"{options.samples} samples, step {run.step}, weights {run.weights}: standard deviation of pixels")
    for threshold in THRESHOLDS:
        images = run.sample(options.samples, seed=0, truncation=threshold)
        lines.append(f"T = {threshold or 'none':<16} {images.std().item():.3f}")
    lines.append(f"{'training images':20} {run.data.decode(run.data.samples).std().item():.3f}")
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
