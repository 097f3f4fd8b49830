"""The command new: it looks at data and machine, and writes a config, from one of several templates, that fits both."""

__all__ = ["choices", "create", "game_template", "images", "machine", "templates"]
