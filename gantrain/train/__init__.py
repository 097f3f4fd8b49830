"""The training run: the loop over steps, its progress, and how it is interrupted."""

__all__ = ["callbacks", "interrupt", "progress", "trainer"]
