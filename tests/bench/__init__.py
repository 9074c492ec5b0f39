"""`make bench`: what the platform costs beside plain restic, as ratios within one run.

Three bars (see `bars`), each with medians, least and most, the number of pairs and the load of the
machine meanwhile. Nothing here is a test: a machine that is busy makes no build fail.
"""
