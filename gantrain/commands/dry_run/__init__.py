"""A dry run: what a run costs on this machine and where everything goes, found out without leaving anything behind."""

__all__ = ["lines", "report", "run"]
