#!/usr/bin/env python3
"""Writes the specs of the bundled loop flows beside this file."""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent

PLAQUETTE = "[1, 2, -1, -2]"
RECTANGLE = "[1, 1, 2, -1, -1, -2]"
TWISTED = "[2, -1, -2, 1, 2, 1, -2, -1]"  # a plaquette and the adjoint of its right neighbour, from their common corner


def loop(steps, start=None, conjugate=False, active=None, fat=None):
    return ("loops { steps: " + steps + (f" start: {start}" if start else "") + (" conjugate: true" if conjugate else "")
            + (f" active_steps: {active}" if active else "") + (f" fat_steps: {fat}" if fat else "") + " }")


def plaquette(start=None, conjugate=False, active=None, fat=None):
    return loop(PLAQUETTE, start, conjugate, active, fat)


def with_neighbour(name, first, roles, real):
    """`first` and the plaquette right of the origin, or its conjugate; a number of its own for each place of the active link."""
    for conjugate in (False, True):
        for role, (on_first, on_neighbour) in roles.items():
            yield (f"{name}{'*' if conjugate else ''} {role}",
                   [loop(first[0], first[1], False, on_first), plaquette("[1, 0]", conjugate, on_neighbour)], real and not conjugate)


def independent(*loops, joined=False):
    return ["independent: true" + (" joined: true" if joined else ""), *loops]


def both(name, make, real=True):
    """A class and the one with its second loop conjugated, which real traces do not need."""
    return [(name, make(False), real), (name + "*", make(True), False)]


CORNER = "[1, 1, 2, -1, 2, -1, -2, -2]"
STRIP = "[1, 1, 1, 2, -1, -1, -1, -2]"
# Name, loops, and whether SU(2), where traces are real and tr AB^+ = tr A tr B - tr AB, needs it too. A plaquette's steps: 0 bottom, 1
# right, 2 top, 3 left.
CLASSES_2D = [
    ("plaquette", [plaquette()], True),
    ("square", [plaquette(), plaquette()], True),
    ("modulus", [plaquette(), plaquette(None, True)], False),
    ("cube", [plaquette()] * 3, True),
    ("modulus cube", [plaquette(), plaquette(), plaquette(None, True)], False),
    ("rectangle side", [loop(RECTANGLE, active="[0, 1, 3, 4]")], True),
    ("rectangle end", [loop(RECTANGLE, active="[2, 5]")], True),
    ("corner middle", [loop(CORNER, active="[0, 7]")], True),
    ("corner arm", [loop(CORNER, active="[1, 6]")], True),
    ("corner end", [loop(CORNER, active="[2, 5]")], True),
    ("corner inside", [loop(CORNER, active="[3, 4]")], True),
    ("strip middle", [loop(STRIP, active="[1, 5]")], True),
    ("strip side", [loop(STRIP, active="[0, 2, 4, 6]")], True),
    ("strip end", [loop(STRIP, active="[3, 7]")], True),
    ("twisted side", [loop(TWISTED, active="[1, 3, 5, 7]")], False),
    ("twisted end", [loop(TWISTED, active="[2, 6]")], False),
    *with_neighbour("neighbours", (PLAQUETTE, None), {"side": ("[0, 2]", None), "end": ("[3]", None), "between": ("[1]", None)}, True),
    *with_neighbour("rectangle plaquette", (RECTANGLE, None),
                    {"side": ("[0, 4]", None), "end": ("[5]", None), "shared side": ("[1, 3]", None), "shared end": ("[2]", None),
                     "between": (None, "[3]")}, True),
    *with_neighbour("twisted plaquette", (TWISTED, "[1, 0]"),
                    {"side": ("[1, 3]", None), "end": ("[2]", None), "shared side": ("[5, 7]", None), "shared end": ("[6]", None)}, False),
]

# Sums over the images through the link, multiplied, and loops joined at the link.
LONGER_2D = {"rectangle side": (RECTANGLE, "[0, 1, 3, 4]"), "rectangle end": (RECTANGLE, "[2, 5]"),
             "corner middle": (CORNER, "[0, 7]"), "strip middle": (STRIP, "[1, 5]"),
             "corner arm": (CORNER, "[1, 6]"), "corner inside": (CORNER, "[3, 4]")}
CLASSES_2D += [
    ("joined staples", independent(plaquette(), plaquette(), joined=True), False),
    *[("joined " + name, independent(plaquette(), loop(steps, active=active), joined=True), False)
      for name, (steps, active) in list(LONGER_2D.items())[:4]],
    *[c for name, (steps, active) in list(LONGER_2D.items())[2:]
      for c in both("staples " + name, lambda conjugate: independent(plaquette(), loop(steps, None, conjugate, active)))],
    *both("staple cube", lambda conjugate: independent(plaquette(), plaquette(None, conjugate), plaquette())),
]

CHAIR = "[2, 1, -2, 3, -1, -3]"  # plaquettes of two planes without their common edge
TWISTED_CHAIR = "[1, 2, -1, -2, 1, 3, -1, -3]"


# Four dimensions: all that one more order of the strong-coupling expansion needs, and of the next one what a link sees: sums over the
# staples, and over the images of longer loops, multiplied; two loops joined at the link; staples in place of a plaquette's other links.
LONGER_4D = {"rectangle side": (RECTANGLE, "[0, 1, 3, 4]"), "rectangle end": (RECTANGLE, "[2, 5]"),
             "chair end": (CHAIR, "[1, 4]"), "chair side": (CHAIR, "[0, 2, 3, 5]")}
CLASSES_4D = [
    ("plaquette", [plaquette()], True),
    *both("square", lambda c: [plaquette(), plaquette(None, c)]),
    *[(name, [loop(steps, active=active)], True) for name, (steps, active) in LONGER_4D.items()],
    ("twisted side", [loop(TWISTED, active="[1, 3, 5, 7]")], False),
    ("twisted end", [loop(TWISTED, active="[2, 6]")], False),
    ("twisted chair side", [loop(TWISTED_CHAIR, active="[1, 3, 5, 7]")], False),
    ("twisted chair end", [loop(TWISTED_CHAIR, active="[2, 6]")], False),
    *both("neighbours side", lambda c: [plaquette(active="[0, 2]"), plaquette("[1, 0, 0, 0]", c)]),
    *both("neighbours end", lambda c: [plaquette(active="[3]"), plaquette("[1, 0, 0, 0]", c)]),
    *both("chair neighbours side", lambda c: [plaquette(active="[0, 2]"), loop("[2, 3, -2, -3]", "[1, 0, 0, 0]", c)]),
    *both("chair neighbours end", lambda c: [plaquette(active="[3]"), loop("[2, 3, -2, -3]", "[1, 0, 0, 0]", c)]),
    *both("staples", lambda c: independent(plaquette(), plaquette(None, c))),
    ("joined staples", independent(plaquette(), plaquette(), joined=True), False),
    ("staple cube", independent(plaquette(), plaquette(), plaquette(None, True)), False),
    *[c for name, (steps, active) in LONGER_4D.items()
      for c in (*both("staples " + name, lambda c: independent(plaquette(), loop(steps, None, c, active))),
                ("joined " + name, independent(plaquette(), loop(steps, active=active), joined=True), False))],
    ("hexagon", [loop("[1, 2, 3, -1, -2, -3]")], True),
    *[(name, [plaquette(active="[0]", fat=fat)], True) for name, fat in (("fat sides", "[1, 3]"), ("fat corner", "[1, 2]"), ("fat", "[1, 2, 3]"))],
]
STAGGERED = " masks: LINK_MASK_FAMILY_STAGGERED_ROWS"


def classes(colours, table):
    return "".join(f'    classes {{ name: "{name}" {" ".join(loops)} }}\n' for name, loops, real in table if colours == 3 or real)


def gauss_newton(steps, batch, shape, beta=0, sweeps=0, damping=0):
    text = f"steps: {steps} batch: {batch} gauss_newton {{ shape: {shape}"
    if beta:
        text += f" beta: {beta:g}"
    if sweeps:
        text += f" sweeps: {sweeps}"
    if damping:
        text += f" damping: {damping:g}"
    return f"  phases {{ {text} }} }}\n"


def spec(name, colours, shape, beta, sweeps, table, phases, start="", more=""):
    return f'''name: "{name}"
spec_version: 1
target {{ lattice {{ {" ".join(f"shape: {x}" for x in shape)} }} sun_wilson {{ colours: {colours} beta: {beta:g} }} }}
prior {{ uniform {{}} }}
layers {{
  loop_flow {{
    sweeps: {sweeps}{more}
{classes(colours, table)}  }}
}}
training {{
  seed: 1
  evaluation_samples: 16384
{f'  start_from: "{start}"' + chr(10) if start else ""}{phases}}}
'''


def leading(name, colours, shape, beta):
    """The leading-order trivialising map: a continuous flow of plaquettes, without training."""
    return f'''name: "{name}"
spec_version: 1
description: "The leading-order trivialising map (arXiv:0907.5491): nothing trained."
target {{ lattice {{ {" ".join(f"shape: {x}" for x in shape)} }} sun_wilson {{ colours: {colours} beta: {beta:g} }} }}
prior {{ uniform {{}} }}
layers {{
  continuous_loop_flow {{
    time_modes: 1
{classes(colours, CLASSES_2D[:1])}  }}
}}
training {{
  evaluation_samples: 16384
}}
'''


def curriculum(beta, sweeps, batch, shape="[4, 4]"):
    """beta in five stages at a quarter of the sweeps, then doubled twice."""
    phases = "".join(gauss_newton(1, batch, shape, round(beta * f, 4), sweeps // 4) for f in (0.4, 0.55, 0.7, 0.85))
    phases += gauss_newton(4, batch, shape, 0, sweeps // 4)
    phases += gauss_newton(5, batch, shape, 0, sweeps // 2, 0.01)
    return phases + gauss_newton(4, batch, shape, damping=0.01) + gauss_newton(4, 2 * batch, shape)


def main():
    for colours, betas in ((2, (1.8, 2.2, 2.7)), (3, (4, 5, 6))):
        for beta in betas:
            name = f"su{colours}-l16-b{beta:g}"
            text = spec(name, colours, [16, 16], beta, 8, CLASSES_2D, curriculum(beta, 8, 2048))
            (HERE / f"{name}.txtpb").write_text(text)
    four = [4, 4, 4, 4]
    phases = {
        1: gauss_newton(2, 512, four, damping=0.01) + gauss_newton(2, 1024, four),
        2: gauss_newton(2, 512, four, 0, 2, 0.01) + gauss_newton(1, 1024, four, damping=0.002)
           + gauss_newton(1, 2048, four),
        3: gauss_newton(2, 768, four, damping=0.01) + gauss_newton(1, 1024, four, damping=0.002),
    }
    specs = {f"su3-4x4x4x4-b{beta}": spec(f"su3-4x4x4x4-b{beta}", 3, four, beta, min(2 * beta, 4), CLASSES_4D, phases[beta],
                                          f"su3-4x4x4x4-b{beta - 1}" if beta > 1 else "", STAGGERED) for beta in (1, 2, 3)}
    specs["su3-8x8x8x8-b1"] = spec("su3-8x8x8x8-b1", 3, [8, 8, 8, 8], 1, 2, CLASSES_4D, "", "su3-4x4x4x4-b1", STAGGERED)
    for name, text in specs.items():
        (HERE / f"{name}.txtpb").write_text(text)
    for name, shape, beta in (("su3-l8-b2-leading", [8, 8], 2), ("su3-4x4x4x4-b1-leading", four, 1)):
        (HERE / f"{name}.txtpb").write_text(leading(name, 3, shape, beta))


if __name__ == "__main__":
    main()
