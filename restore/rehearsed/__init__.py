"""Rehearsed restores (drills): whose turn it is, carrying one out, and what it is compared with."""
