"""Configs: YAML read and merged, checked against the sections and the parts' signatures. Nothing here imports torch."""

from gantrain.config.loading import dump, json_schema, load, load_map, load_solve, resolved
from gantrain.config.schema import Config, MapConfig, SolveConfig

__all__ = ["Config", "MapConfig", "SolveConfig", "dump", "json_schema", "load", "load_map", "load_solve", "resolved"]
