"""What every part stands on: database, lifecycles, isolation, keys, storage, programs, dispatch."""
