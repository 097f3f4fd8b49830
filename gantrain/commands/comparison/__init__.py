"""What the command compare computes and shows: runs, their groups, differences, grids, tables and pictures."""

__all__ = ["compare", "differences", "files", "grid", "groups", "metrics", "pictures", "series", "tables"]
