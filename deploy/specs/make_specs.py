#!/usr/bin/env python3
"""Writes the specs of the bundled models: block-decimation flows for U(1) in two dimensions.

A block's flux is uniform in the prior, as it is in the target up to (I_1/I_0)^area: blocks of 4x4 up to beta = 2 and of 8x8 above. Stages then
split every block's flux in two, 4x4 -> 4x2 -> 2x2 -> 2x1 -> 1x1, by moving one link on the line between the halves: the active loop is one
half, the network sees the flux of the whole. Each stage is one coupling layer, all blocks at once.

Above beta = 2 the splines are sharp: the least bin of the others, a thousandth of the circle, is drawn at every split, and in the tails of a
plaquette nearly every such field is lost. One field of 16x16 holds 128 splits of plaquettes, four of the largest blocks: with the path gradient
batches of 16 fields are enough, and many small steps get further than few large ones.
"""
import sys

def mask(direction, offset, stride):
    return (f"    masks {{ direction: {direction} plane: {1 - direction} "
            f"sublattices {{ offset: [{offset[0]}, {offset[1]}] stride: [{stride[0]}, {stride[1]}] }} }}\n")

def stage(direction, offset, stride, half, across, hidden, spline):
    # `half`: width along the link, height across. The whole is twice as high, its corner `across` steps below.
    return ("layers {\n  u1_coupling_stack {\n    layers: 1\n" + mask(direction, offset, stride) +
            f"    active_loop {{ width: {half[0]} height: {half[1]} }}\n"
            f"    features {{ width: {half[0]} height: {2 * half[1]} aligned: true offset_across: {-across} }}\n"
            f"    network {{ hidden: {hidden} kernel: {[1] * (len(hidden) + 1)} activation: ACTIVATION_SILU precision: PRECISION_FLOAT32 }}\n"
            f"    map {{ spline {{ {spline} }} }}\n  }}\n}}\n")

def decimation(block, hidden, spline):
    """Stages for blocks of `block` x `block` sites, from coarse to fine. Array order of offsets and strides: (y, x)."""
    text, b = "", block
    while b > 1:
        h = b // 2
        text += stage(0, (h, 0), (b, b), (b, h), h, hidden, spline)   # split in y: horizontal link, b wide and h high
        text += stage(1, (0, h), (h, b), (h, h), h, hidden, spline)   # split in x: vertical link, h long and h across
        b = h
    return text

def phase(steps, batch, rate, warmup=50):
    return (f"  phases {{ steps: {steps} batch: {batch} learning_rate: {rate} schedule: LEARNING_RATE_SCHEDULE_COSINE "
            f"final_learning_rate_factor: 0.01 estimator: GRADIENT_ESTIMATOR_PATH clip_norm: 10 adam_beta2: 0.99 warmup_steps: {warmup} }}\n")


def spec(name, size, beta, block, hidden, spline, training, samples=65536):
    return (f"# Made by make_specs.py. Field by field: proto/haarflow/v1/model.proto.\n"
            f'name: "{name}"\nspec_version: 1\n'
            f'description: "U(1) block decimation: {block}x{block} blocks split in halves down to plaquettes"\n'
            f"target {{ lattice {{ shape: [{size}, {size}] }} u1_wilson {{ beta: {beta} }} }}\n"
            f"prior {{ uniform {{}} }}\n" + decimation(block, hidden, spline) +
            f"training {{\n  seed: 20020212\n  evaluation_samples: {samples}\n{training}}}\n")


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "."
    # The weights know nothing of the volume: what L = 8 learned serves L = 16, after a short polish. Nor do they forget a neighbouring beta.
    moved = lambda start, *phases: f'  start_from: "{start}"\n' + "".join(phases)
    models = [("u1-l8-b2", 8, 2, 4, "bins: 16", phase(40000, 1024, 3e-3)),
              ("u1-l16-b2", 16, 2, 4, "bins: 16", moved("u1-l8-b2", phase(3000, 512, 3e-4))),
              ("u1-l16-b4", 16, 4, 8, "bins: 16 sharp: true", phase(60000, 16, 3e-3)),
              ("u1-l16-b5", 16, 5, 8, "bins: 16 sharp: true", moved("u1-l16-b4", phase(60000, 16, 2e-3))),
              ("u1-l16-b1", 16, 1, 4, "bins: 16", moved("u1-l16-b2", phase(2000, 16, 1e-3)), 16384),
              ("u1-l16-b3", 16, 3, 8, "bins: 16 sharp: true", moved("u1-l16-b4", phase(16000, 16, 1.5e-3))),
              ("u1-l16-b6", 16, 6, 8, "bins: 16 sharp: true", moved("u1-l16-b5", phase(20000, 16, 1e-3))),
              ("u1-l16-b7", 16, 7, 8, "bins: 16 sharp: true", moved("u1-l16-b6", phase(15000, 32, 5e-4)))]
    for name, size, beta, block, spline, training, *samples in models:
        with open(f"{out}/{name}.txtpb", "w") as f:
            f.write(spec(name, size, beta, block, [32, 32], spline, training, *samples))
