"""Give data back: preview, restore aside or in place, undo."""
