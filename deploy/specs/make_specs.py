#!/usr/bin/env python3
"""Writes the specs of the bundled models: block-decimation flows for U(1) in two dimensions.

A block's flux is uniform in the prior, as it is in the target up to (I_1/I_0)^area: blocks of 4x4 up to beta = 2 and of 8x8 above. Stages then
split every block's flux in two, 4x4 -> 4x2 -> 2x2 -> 2x1 -> 1x1, by moving one link on the line between the halves: the active loop is one
half, the network sees the flux of the whole. Each stage is one coupling layer, all blocks at once.
"""
import sys

def mask(direction, offset, stride):
    return (f"    masks {{ direction: {direction} plane: {1 - direction} "
            f"sublattices {{ offset: [{offset[0]}, {offset[1]}] stride: [{stride[0]}, {stride[1]}] }} }}\n")

def stage(direction, offset, stride, half, across, hidden, bins):
    # `half`: width along the link, height across. The whole is twice as high, its corner `across` steps below.
    return ("layers {\n  u1_coupling_stack {\n    layers: 1\n" + mask(direction, offset, stride) +
            f"    active_loop {{ width: {half[0]} height: {half[1]} }}\n"
            f"    features {{ width: {half[0]} height: {2 * half[1]} aligned: true offset_across: {-across} }}\n"
            f"    network {{ hidden: {hidden} kernel: {[1] * (len(hidden) + 1)} activation: ACTIVATION_SILU precision: PRECISION_FLOAT32 }}\n"
            f"    map {{ spline {{ bins: {bins} }} }}\n  }}\n}}\n")

def decimation(block, hidden, bins):
    """Stages for blocks of `block` x `block` sites, from coarse to fine. Array order of offsets and strides: (y, x)."""
    text, b = "", block
    while b > 1:
        h = b // 2
        text += stage(0, (h, 0), (b, b), (b, h), h, hidden, bins)   # split in y: horizontal link, b wide and h high
        text += stage(1, (0, h), (h, b), (h, h), h, hidden, bins)   # split in x: vertical link, h long and h across
        b = h
    return text

def phase(steps, batch, rate, warmup=50):
    return (f"  phases {{ steps: {steps} batch: {batch} learning_rate: {rate} schedule: LEARNING_RATE_SCHEDULE_COSINE "
            f"final_learning_rate_factor: 0.01 estimator: GRADIENT_ESTIMATOR_PATH clip_norm: 10 adam_beta2: 0.99 warmup_steps: {warmup} }}\n")


def spec(name, size, beta, block, hidden, bins, training):
    return (f"# Made by make_specs.py. Field by field: proto/haarflow/v1/model.proto.\n"
            f'name: "{name}"\nspec_version: 1\n'
            f'description: "U(1) block decimation: {block}x{block} blocks split in halves down to plaquettes"\n'
            f"target {{ lattice {{ shape: [{size}, {size}] }} u1_wilson {{ beta: {beta} }} }}\n"
            f"prior {{ uniform {{}} }}\n" + decimation(block, hidden, bins) +
            f"training {{\n  seed: 20020212\n  evaluation_samples: 65536\n{training}}}\n")


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "."
    # The weights know nothing of the volume: what L = 8 learned serves L = 16, after a short polish. Nor do they forget a neighbouring beta.
    moved = lambda start, steps, rate: f'  start_from: "{start}"\n' + phase(steps, 512, rate)
    models = [("u1-l8-b2", 8, 2, 4, phase(40000, 1024, 3e-3)),
              ("u1-l16-b2", 16, 2, 4, moved("u1-l8-b2", 3000, 3e-4)),
              ("u1-l16-b4", 16, 4, 8, phase(12000, 512, 3e-3))]
    for name, size, beta, block, training in models:
        with open(f"{out}/{name}.txtpb", "w") as f:
            f.write(spec(name, size, beta, block, [32, 32], 16, training))
