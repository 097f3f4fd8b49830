"""Drawing: grids of images, matplotlib figures."""

__all__ = ["figures", "images"]
