"""The configuration: one typed schema, loaded from TOML and the command line.

`values` reads durations, sizes, rates and addresses; `schema` declares every setting with meaning,
unit, default and whether a reload applies it; `fields` walks that declaration; `convert` turns TOML
into it; `load` puts file, overrides and defaults together; `check` judges what types cannot.
"""

from __future__ import annotations

from mta.config.check import problems
from mta.config.load import changed_static, examine, from_json, load, to_json
from mta.config.schema import Config

__all__ = ["Config", "changed_static", "examine", "from_json", "load", "problems", "to_json"]
