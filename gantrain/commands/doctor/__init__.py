"""The doctor: whether this machine and this config could train, found out without writing anything that stays."""

__all__ = ["findings", "machine", "report", "run"]
