"""Convergence theory of outer loops, measurements of games at a point, and the advice that follows from them."""
