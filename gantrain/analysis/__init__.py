"""Convergence theory of outer loops, measurements of games at a point, and the advice that follows from them."""

__all__ = [
    "advice",
    "convergence_figure",
    "convergence_map",
    "curvature",
    "descent",
    "diagnosis",
    "guarantees",
    "iteration_matrix",
    "linearised",
    "method",
    "spectrum",
]
