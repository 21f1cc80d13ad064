#!/usr/bin/env python3
"""Writes the specs of the bundled spectral flows (arXiv:2008.05456): single matrices, and block decimation of two-dimensional SU(2), SU(3).

Decimation is that of make_specs.py: the loop around a 4 x 4 block is Haar-distributed in the prior, as it nearly is in the target; stages
split every block in halves, 4x4 -> 4x2 -> 2x2 -> 2x1 -> 1x1, by moving one link on the line between them. The network sees the trace of
the whole loop W. The matrix that is mapped lies between the two halves (towards_mirror): with plaquette weights exp(beta/N Re Tr) the
product of both is a function of its trace alone for SU(2). Everything else needs more than one point of view: layers from half way, from one
side and from the other (for SU(3) from beyond both), and from half way again.
"""
import sys

def phase(steps, batch, rate):
    return (f"  phases {{ steps: {steps} batch: {batch} learning_rate: {rate} schedule: LEARNING_RATE_SCHEDULE_COSINE "
            f"final_learning_rate_factor: 0.01 estimator: GRADIENT_ESTIMATOR_PATH clip_norm: 10 adam_beta2: 0.99 warmup_steps: 20 }}\n")

def head(name, description, target):
    return (f"# Made by make_spectral_specs.py. Field by field: proto/haarflow/v1/model.proto.\n"
            f'name: "{name}"\nspec_version: 1\ndescription: "{description}"\ntarget {{ {target} }}\nprior {{ uniform {{}} }}\n')

def training(phases):
    return f"training {{\n  seed: 20080645\n  evaluation_samples: 65536\n{phases}}}\n"

def spectral_map(colours, bins, ratio=(0, 0)):
    return f"map {{ bins: {bins} " + (f"ratio_bins: {ratio[0]} ratio_nodes: {ratio[1]} " if colours == 3 else "") + "}"

def single(name, colours, beta, c, bins, ratio, phases):
    text = head(name, f"One SU({colours}) matrix through its eigenvalues",
                f"sun_matrix {{ colours: {colours} beta: {beta} c1: {c[0]} c2: {c[1]} c3: {c[2]} }}")
    text += (f"layers {{\n  spectral_coupling_stack {{\n    layers: 1\n    network {{ kernel: 1 precision: PRECISION_FLOAT64 }}\n"
             f"    {spectral_map(colours, bins, ratio)}\n  }}\n}}\n")
    return text + training(phases)

def stage(colours, direction, offset, stride, half, powers, hidden, spline):
    text = ""
    for power in powers.get(half, powers[None]):
        text += (f"layers {{\n  spectral_coupling_stack {{\n    layers: 1\n"
                 f"    masks {{ direction: {direction} plane: {1 - direction} "
                 f"sublattices {{ offset: [{offset[0]}, {offset[1]}] stride: [{stride[0]}, {stride[1]}] }} }}\n"
                 f"    active_loop {{ width: {half[0]} height: {half[1]} }}\n    towards_mirror: {power}\n"
                 f"    features {{ width: {half[0]} height: {2 * half[1]} aligned: true offset_across: {-half[1]} }}\n"
                 f"    network {{ hidden: {hidden} kernel: {[1] * (len(hidden) + 1)} activation: ACTIVATION_SILU "
                 f"precision: PRECISION_FLOAT32 }}\n    {spline}\n  }}\n}}\n")
    return text

def decimation(colours, block, powers, hidden, spline):
    """Stages for blocks of `block` x `block` sites, from coarse to fine. `powers`: towards_mirror of each layer, by the half's sides. Array order of offsets and strides: (y, x)."""
    text, b = "", block
    while b > 1:
        h = b // 2
        text += stage(colours, 0, (h, 0), (b, b), (b, h), powers, hidden, spline)   # split in y: horizontal link
        text += stage(colours, 1, (0, h), (h, b), (h, h), powers, hidden, spline)   # split in x: vertical link
        b = h
    return text

def lattice(name, colours, size, beta, powers, hidden, spline, phases):
    return (head(name, f"SU({colours}) block decimation by spectral coupling layers",
                 f"lattice {{ shape: [{size}, {size}] }} sun_wilson {{ colours: {colours} beta: {beta} }}") +
            decimation(colours, 4, powers, hidden, spline) + training(phases))


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "."
    specs = {}
    for colours, ratio in ((2, (0, 0)), (3, (12, 12))):
        name = f"su{colours}-matrix-b9"
        specs[name] = single(name, colours, 9, (0.17, -0.65, 1.22), 16, ratio, phase(2000, 256, 0.05))
    # The weights know nothing of the volume: what L = 8 learned serves L = 16, after a short polish.
    su2 = {None: [0.5, 0, 1, 0.5], (1, 1): [0.5]}, [32], spectral_map(2, 14)
    su3 = {None: [0.5, -0.5, 1.5, 0.5]}, [16], spectral_map(3, 6, (3, 2))
    for name, colours, size, beta, flow, phases in (
            ("su2-l8-b2.2-spectral", 2, 8, 2.2, su2, phase(800, 256, 5e-3)),
            ("su2-l16-b2.2-spectral", 2, 16, 2.2, su2, '  start_from: "su2-l8-b2.2-spectral"\n' + phase(150, 128, 2e-3)),
            ("su2-l16-b1.8-spectral", 2, 16, 1.8, su2, '  start_from: "su2-l8-b2.2-spectral"\n' + phase(150, 128, 2e-3)),
            ("su2-l16-b2.7-spectral", 2, 16, 2.7, su2, '  start_from: "su2-l8-b2.2-spectral"\n' + phase(150, 128, 2e-3)),
            ("su3-l8-b5-spectral", 3, 8, 5, su3, phase(1500, 64, 7e-3)),
            ("su3-l16-b5-spectral", 3, 16, 5, su3, '  start_from: "su3-l8-b5-spectral"\n' + phase(150, 64, 2e-3))):
        specs[name] = lattice(name, colours, size, beta, *flow, phases)
    for name, text in specs.items():
        with open(f"{out}/{name}.txtpb", "w") as f:
            f.write(text)
