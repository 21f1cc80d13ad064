"""Targets: theories with their parameters on a lattice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import RequestRefused
from .v1 import model_pb2

__all__ = ["default_columns", "describe", "field_shape", "is_complex", "lattice_text", "parameters", "with_changes"]

# What a theory's parameters are called, in the order in which people say them. Fields of the messages of model.proto.
_PARAMETERS = {
    "u1_wilson": ("beta", "theta_imaginary"),
    "sun_wilson": ("beta", "rectangle"),
    "sun_matrix": ("beta", "c1", "c2", "c3"),
    "mass": ("m2", "lambda", "normalisation"),
    "hopping": ("kappa", "lambda"),
}

_U1_FORMS = {
    model_pb2.U1_ACTION_FORM_UNSPECIFIED: "Wilson",
    model_pb2.U1_ACTION_FORM_WILSON: "Wilson",
    model_pb2.U1_ACTION_FORM_VILLAIN: "Villain",
    model_pb2.U1_ACTION_FORM_MANTON: "Manton",
}


def _parameter_message(target: model_pb2.Target) -> tuple[Any, tuple[str, ...]]:
    theory = target.WhichOneof("theory")
    if theory is None:
        return None, ()
    message = getattr(target, theory)
    if theory == "phi4":
        form = message.WhichOneof("form")
        return (getattr(message, form), _PARAMETERS[form]) if form else (None, ())
    names = _PARAMETERS[theory]
    # The theta term is two-dimensional.
    return message, names[:1] if theory == "u1_wilson" and len(target.lattice.shape) != 2 else names


def parameters(target: model_pb2.Target) -> dict[str, float]:
    """The theory's parameters by name, ``{"beta": 2.0}`` for example; a theta term only where there is one."""
    message, names = _parameter_message(target)
    values = {name: float(getattr(message, name)) for name in names}
    if values.get("theta_imaginary") == 0:
        del values["theta_imaginary"]
    if "normalisation" in values and values["normalisation"] == 0:
        values["normalisation"] = 1.0
    return values


def with_changes(target: model_pb2.Target, changes: Mapping[str, float] | None = None,
                 lattice: Iterable[int] | None = None) -> model_pb2.Target:
    """A copy of `target` with other parameters, on another lattice.

    Parameters
    ----------
    target : haarflow.v1.model_pb2.Target
        What to start from, a model's own target for example.
    changes : mapping of str to float, optional
        New values of parameters of the theory.
    lattice : iterable of int, optional
        New extents in array order ``[t, z, y, x]``.

    Returns
    -------
    haarflow.v1.model_pb2.Target

    Raises
    ------
    RequestRefused
        The theory has no such parameter; the message lists those that it has.
    """
    changed = model_pb2.Target()
    changed.CopyFrom(target)
    message, names = _parameter_message(changed)
    for name, value in (changes or {}).items():
        if name not in names:
            raise RequestRefused(f"{describe(target)}: the theory has no parameter '{name[:40]}'; it has {', '.join(names) or 'none'}",
                                 "INVALID_ARGUMENT")
        setattr(message, name, float(value))
    if lattice is not None:
        changed.lattice.shape[:] = [int(extent) for extent in lattice]
    return changed


def describe(target: model_pb2.Target) -> str:
    """The theory in words, without the lattice: ``"SU(3) Wilson, beta = 5"``."""
    theory = target.WhichOneof("theory")
    names = {
        "u1_wilson": "U(1) " + _U1_FORMS.get(target.u1_wilson.form, "action of an unknown form"),
        "sun_wilson": f"SU({target.sun_wilson.colours}) Wilson",
        "sun_matrix": f"SU({target.sun_matrix.colours}) matrix",
        "phi4": "O(2) phi^4" if target.phi4.components == 2 else "phi^4",
    }
    unremarkable = {"rectangle": 0.0, "theta_imaginary": 0.0, "normalisation": 1.0}
    values = [f"{name} = {value:.10g}" for name, value in parameters(target).items() if unremarkable.get(name) != value]
    return ", ".join([names.get(theory or "", "a theory that this program does not know"), *values])


def lattice_text(target: model_pb2.Target) -> str:
    """``"16x16"``; "" for a single matrix."""
    return "x".join(str(extent) for extent in target.lattice.shape)


def is_complex(target: model_pb2.Target) -> bool:
    """Fields are matrices of SU(N)."""
    return target.WhichOneof("theory") in ("sun_wilson", "sun_matrix")


def field_shape(target: model_pb2.Target) -> tuple[int, ...]:
    """The shape of one configuration as it travels, in real numbers.

    U(1) links ``(mu, t, z, y, x)``, SU(N) links ``(mu, t, z, y, x, row, column, 2)``, a single matrix ``(row, column, 2)``, scalars
    ``(t, z, y, x)`` or, of two components, ``(component, t, z, y, x)``.
    """
    lattice = tuple(target.lattice.shape)
    theory = target.WhichOneof("theory")
    if theory == "u1_wilson":
        return (len(lattice), *lattice)
    if theory == "sun_wilson":
        colours = target.sun_wilson.colours
        return (len(lattice), *lattice, colours, colours, 2)
    if theory == "sun_matrix":
        colours = target.sun_matrix.colours
        return (colours, colours, 2)
    if theory == "phi4":
        return (2, *lattice) if target.phi4.components == 2 else lattice
    raise RequestRefused(f"{describe(target)}: update the haarflow package", "FAILED_PRECONDITION")


def default_columns(target: model_pb2.Target) -> list[str]:
    """The observables that a physicist looks at first; those of ``haarflow sample`` (client/theory.cc)."""
    theory = target.WhichOneof("theory")
    if theory == "sun_matrix":
        return ["trace_1", "trace_2", "trace_3"]
    if theory == "phi4":
        return ["phi_squared", "energy", "magnetisation_abs", "susceptibility"]
    names = ["plaquette"]
    if theory == "sun_wilson":
        if target.sun_wilson.rectangle != 0:
            names.append("rectangle")
        names.append("polyakov_abs")
    if (theory, len(target.lattice.shape)) in (("u1_wilson", 2), ("sun_wilson", 4)):
        names.append("charge_squared")
    return names


def default_measurements(target: model_pb2.Target) -> list[str]:
    """The same, and functions of means; those of ``haarflow measure``."""
    names = default_columns(target)
    theory = target.WhichOneof("theory")
    if theory == "sun_wilson":
        if min(target.lattice.shape) > 2:
            names.append("wilson_loop_2x2")
        names.append("polyakov_real")
    if theory == "phi4":
        names += ["binder_cumulant", "correlation_length"]
    return names
