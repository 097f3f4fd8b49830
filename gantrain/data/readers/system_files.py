"""Files and folders that operating systems, file servers and programs leave among the user's own."""

from __future__ import annotations

# In lower case. Names that begin with a dot are hidden and need no entry.
_NAMES = frozenset(
    {
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "iconcache.db"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend", "found.000"),
        # macOS
        *("__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder"),
        *("thefindbycontentfolder", "desktop db", "desktop df"),
        # Linux
        *("lost+found", "aquota.user", "aquota.group"),
        # Synology, QNAP, NetApp and other file servers
        *("@eadir", "@tmp", "@sharebin", "@sharesnap", "@synologydrive", "@appstore", "#recycle", "#snapshot"),
        *("@recycle", "@recently-snapshot", "@__thumb", "~snapshot", "$recycle", "network recycle bin"),
        # programs
        *("thumbnails", "__pycache__", "picasa.ini", "albumartsmall.jpg"),
    }
)
_BEGINNINGS = (".", "synofile_thumb_", "albumart_{")


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or not the user's: thumbnails, recycle bins and their like."""
    lower = name.lower()
    return lower in _NAMES or lower.startswith(_BEGINNINGS)
