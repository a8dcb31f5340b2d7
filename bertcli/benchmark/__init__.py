"""Measuring this machine on a user's own texts: what they are like, and which settings serve them best.

sample       the first texts of the input: lengths, duplicates, and which of them are timed
trial        one choice of engine, dtype, threads and batch size, timed through the ordinary pipeline
search       which choices are tried, within a number of seconds
agreement    how far the answers of a dtype are from those in float32
whole_run    the best choice as a process of its own: how long it takes to start, and its memory
"""
