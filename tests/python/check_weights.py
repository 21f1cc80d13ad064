"""The weights of every model of a store open with the Python safetensors package: check_weights.py STORE."""
import glob
import os
import sys

import numpy as np
from safetensors import safe_open


def main(store):
    paths = sorted(glob.glob(os.path.join(store, "*", "*", "weights.safetensors")))
    if not paths:
        print(f"SKIPPED: no models in {store}")
        sys.exit(77)
    for path in paths:
        numbers = 0
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                if not np.all(np.isfinite(tensor)):
                    sys.exit(f"FAILED: {path}: {name} is not finite")
                numbers += tensor.size
        with open(os.path.join(os.path.dirname(path), "spec.txtpb")) as spec:
            has_layers = "layers" in spec.read()
        if numbers == 0 and has_layers:
            sys.exit(f"FAILED: {path} is empty")
        print(f"{path}: {numbers} numbers: good")


if __name__ == "__main__":
    main(sys.argv[1])
