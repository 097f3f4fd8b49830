"""How the device computes: compiled or not, in which precision, in evaluation mode, within its memory."""

__all__ = ["compile", "memory", "modes", "precision"]
