#!/bin/sh
# A Pillow image with a palette of colours that are partly transparent comes back from a process pool opaque.
#
# `quantize` turns an image with an alpha channel into one with a palette; with the octree method the palette has alpha
# values, mode "RGBA", and convert("RGBA") shows them. copy() and copy.copy keep the palette as it is, and a thread pool
# hands over the image itself. Pickling asks the image for its palette as plain RGB and so drops the alpha values, with
# no warning: the image that arrives in a worker process, or comes back from one, has the same mode and the same pixels
# and is fully opaque. Saved as PNG before and after, it gives two different files.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: pillow==13.0.0

cat >"$work/probe.py" <<'PY'
import copy
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import PIL
from PIL import Image


def colour(image):
    return image.convert("RGBA").getpixel((0, 0))


def same(image):
    return image


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, Pillow {PIL.__version__}")
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 100)).quantize(8, method=Image.Quantize.FASTOCTREE)
    assert (image.mode, image.palette.mode) == ("P", "RGBA")
    print("expected: the first pixel is (255, 0, 0, 100) in the program and in every task")
    seen = {"here": colour(image), "copy()": colour(image.copy()), "copy.copy": colour(copy.copy(image))}
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(1) as pool:
            seen[f"in a task of {kind.__name__}"] = pool.submit(colour, image).result()
            seen[f"back from {kind.__name__}"] = colour(pool.submit(same, image).result())
    for place, pixel in seen.items():
        print(f"seen: {place}: {pixel}")
    for place, pixel in seen.items():
        assert pixel == (255, 0, 0, 255 if "ProcessPool" in place else 100), place
PY
"$work/venv/bin/python" "$work/probe.py"
