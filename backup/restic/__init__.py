"""restic, the engine: its commands as functions that return dataclasses or raise.

`commands` and `streams` are what other parts call, `creation` makes repositories without restic's
calibration; `flags` builds argv (pure), `outputs` reads JSON, `errors` has the one table of exit
codes, `calls` runs, `gateway` lets a copy read through us. No other part knows restic's flags.
"""
