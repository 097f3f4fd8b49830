"""How the device computes: compiling, precision, evaluation mode, and what is said when memory runs out."""

__all__ = ["compile", "memory", "modes", "precision"]
