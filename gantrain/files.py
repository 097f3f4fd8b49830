"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file under another name and rename it; text is UTF-8."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)
