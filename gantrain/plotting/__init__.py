"""Drawing: grids of images, matplotlib figures, convergence maps."""

__all__ = ["convergence_map", "figures", "images"]
