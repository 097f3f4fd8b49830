"""Files and folders that operating systems, file servers and programs leave among the user's own."""

from __future__ import annotations

# In lower case.
_NAMES = frozenset(
    {
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "iconcache.db"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "$extend", "found.000"),
        # macOS
        *("__macosx", "icon\r", ".ds_store", ".localized", ".fseventsd", ".spotlight-v100", "network trash folder"),
        *("temporary items", "thevolumesettingsfolder"),
        *("thefindbycontentfolder", "desktop db", "desktop df"),
        # Linux
        *("lost+found", "aquota.user", "aquota.group", ".directory", ".snapshot"),
        # Synology, QNAP, NetApp and other file servers
        *("@eadir", "@tmp", "@sharebin", "@sharesnap", "@synologydrive", "@appstore", "#recycle", "#snapshot"),
        *("@recycle", "@recently-snapshot", "@__thumb", "~snapshot", "$recycle", "network recycle bin"),
        # programs
        *("thumbnails", "__pycache__", "picasa.ini", "albumartsmall.jpg"),
    }
)
_BEGINNINGS = ("._", ".trash", ".nfs", ".fuse_hidden", "synofile_thumb_", "albumart_{")


def is_system_file(name: str) -> bool:
    """Whether a file or folder of this name is not the user's: thumbnails, recycle bins and their like."""
    lower = name.lower()
    return lower in _NAMES or lower.startswith(_BEGINNINGS)


def is_hidden_or_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden or not the user's."""
    return name.startswith(".") or is_system_file(name)
