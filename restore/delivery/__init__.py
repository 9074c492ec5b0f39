"""Data of a point that a person looks at or takes along: asked for, made, kept a while, served.

What is made is one *artefact*: sealed with a key of its own, in one region, gone when its time is
over. A preview is the same with a short life. `docs/decisions/deliveries.md` says why.
"""
