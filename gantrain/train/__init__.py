"""The training run: the loop over steps, its callbacks, its progress on the terminal, and its interruption."""

__all__ = ["callbacks", "interrupt", "loop", "nonfinite", "progress", "resuming", "trainer"]
