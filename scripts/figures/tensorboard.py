"""Pictures of TensorBoard for the documentation: ``python scripts/figures/tensorboard.py checkpoints quickstart``.

It starts a TensorBoard on a folder of runs, and takes the pictures with a headless Chromium (Debian's ``chromium`` and
``chromium-driver``, and ``pip install selenium``). Look at each of them before you commit it: a page that is still
being drawn is photographed as it is.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from browser import browser

# The name of a picture -> the tab, with RUN where one run is shown, and the part of the window that is kept: left, top,
# right, bottom.
PAGES = {
    "charts": ("custom_scalars", (0, 0, 1500, 900)),
    "table": ("hparams", (0, 0, 1500, 420)),
    "images": ("images&regexInput=RUN", (0, 0, 1500, 660)),
    "histograms": ("histograms&regexInput=RUN", (0, 0, 1500, 420)),
    "text": ("text&regexInput=RUN", (0, 0, 1500, 640)),
}
COLOURS = 256


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", help="the folder of the runs")
    parser.add_argument("run", help="the run that is shown where one is enough")
    parser.add_argument("--into", default=Path(__file__).parents[2] / "docs/images", type=Path)
    parser.add_argument("--seconds", default=10.0, type=float, help="the time that a page takes to be drawn")
    parser.add_argument("--page", action="append", choices=PAGES, help="the pages; by default all")
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    options = ["--logdir", arguments.runs, "--host", "127.0.0.1", "--port", "0"]
    command = [sys.executable, "-m", "tensorboard.main", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr)))[0]
        time.sleep(arguments.seconds)  # until the runs are read
        for name in arguments.page or PAGES:
            tab = PAGES[name][0].replace("RUN", arguments.run)
            path = arguments.into / f"tensorboard_{name}.png"
            take(f"{address}?darkMode=false#{tab}", name, path, arguments.seconds)
    finally:
        server.terminate()


def take(address: str, name: str, path: Path, seconds: float) -> None:
    """Write the picture of a page, in few colours."""
    with browser(1500, 1000) as driver:
        driver.get(address)
        time.sleep(seconds)
        picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB").crop(PAGES[name][1])
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
