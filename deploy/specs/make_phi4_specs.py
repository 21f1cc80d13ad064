#!/usr/bin/env python3
"""Writes the specs of the bundled phi^4 models: equivariant continuous flows from a free-field prior with a learned spectrum.

Along the critical line (m^2 = -4; lambda such that m L is about 4, points E1 to E5 of arXiv:1904.12072 and their continuation) each model starts
from a smaller lattice's: kernels are copied by displacement, spectra interpolated.
"""
import sys

def phase(steps, batch, rate, integration_steps, clip=10):
    return (f"  phases {{\n"
            f"    steps: {steps} batch: {batch} learning_rate: {rate} schedule: LEARNING_RATE_SCHEDULE_COSINE final_learning_rate_factor: 0.05\n"
            f"    estimator: GRADIENT_ESTIMATOR_PATH clip_norm: {clip} adam_beta1: 0.9 adam_beta2: 0.99 warmup_steps: 10\n"
            f"    kinetic_penalty: 1e-3 average_decay: 0.995 integration_steps: {integration_steps} \n"
            f"  }}\n")

def spec(name, shape, theory, phases, start=None, frequencies=8, max_frequency=None, conditioning="", samples=65536):
    extents = " ".join(f"shape: {n}" for n in shape)
    return (f'name: "{name}"\nspec_version: 1\n'
            f"target {{ lattice {{ {extents} }} phi4 {{ {theory} }} }}\n"
            f"prior {{ free_field {{ m2: 1 learnable: true }} }}\n"
            f"layers {{ scalar_continuous_flow {{ frequencies: {frequencies} max_frequency: {max_frequency or frequencies} time_modes: 6 }} }}\n"
            + conditioning +
            f"training {{\n  seed: 1\n  evaluation_samples: {samples}\n" + (f'  start_from: "{start}"\n' if start else "") +
            "".join(phase(*p) for p in phases) + "}\n")

def critical(name, size, coupling, phases, start=None, **more):
    return name, spec(name, [size, size], f"mass {{ m2: -4 lambda: {coupling} }}", phases, start, **more)

def interval(parameter, low, high, degree):
    return f'conditioning {{ parameter: "{parameter}" low: {low} high: {high} degree: {degree} }}\n'

def kappa(shape, phases, start=None):
    # lambda = 0.022: the transition is near kappa = 0.271, and at 0.3 the symmetry is broken.
    name = f"phi4-{shape[0]}x{shape[1]}-kappa"
    return name, spec(name, shape, "hopping { kappa: 0.27 lambda: 0.022 }", phases, start, 6, 3, interval("kappa", 0.2, 0.3, 8), 16384)

MODELS = [
    critical("phi4-l6-e1", 6, 6.975, [(2500, 64, 0.01, 10)]),
    critical("phi4-l8-tutorial", 8, 8, [(2500, 64, 0.01, 10)]),
    critical("phi4-l8-e2", 8, 6.008, [(3500, 64, 0.01, 12)]),
    critical("phi4-l10-e3", 10, 5.55, [(3000, 64, 0.01, 12)], "phi4-l8-e2"),
    critical("phi4-l12-e4", 12, 5.276, [(3000, 64, 0.01, 12)], "phi4-l10-e3"),
    critical("phi4-l14-e5", 14, 5.113, [(3000, 64, 0.01, 12)], "phi4-l12-e4"),
    critical("phi4-l16", 16, 5.0, [(5000, 32, 0.01, 12), (2000, 64, 0.002, 16)], "phi4-l8-e2"),
    critical("phi4-l32", 32, 4.65, [(6000, 32, 0.01, 12), (1500, 64, 0.002, 20)], "phi4-l16", samples=16384),
    critical("phi4-l8-lambda", 8, 6, [(3000, 128, 0.01, 12), (2000, 128, 0.002, 20)], conditioning=interval("lambda", 4, 8, 6), samples=16384),
    kappa([8, 8], [(4000, 128, 0.005, 12, 3), (2000, 128, 0.001, 20, 3)]),
    kappa([8, 16], [(2000, 128, 0.003, 12, 3), (1000, 128, 0.001, 20, 3)], "phi4-8x8-kappa"),
    kappa([8, 64], [(2000, 64, 0.003, 16, 3), (1000, 64, 0.001, 24, 3)], "phi4-8x16-kappa"),
]

if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "."
    for name, text in MODELS:
        with open(f"{out}/{name}.txtpb", "w") as f:
            f.write(text)
