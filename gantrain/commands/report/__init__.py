"""What the command report writes: one HTML file about runs, which needs no network and no other file."""

__all__ = ["config", "curves", "embedded", "facts", "pictures", "plot", "quality", "reading", "report", "words"]
