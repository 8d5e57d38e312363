"""The configuration: one typed schema, loaded from TOML and the command line.

`values` reads durations, sizes, rates and addresses; `schema` declares every setting with meaning,
unit, default and whether a reload applies it; `fields` walks that declaration; `convert` turns TOML
into it; `positions` knows the lines; `load` puts file, overrides and defaults together; `check`
judges what types cannot; `home` is the default folder.
"""
