"""Runs on more than one machine: shards of an input, and joining their outputs.

shards   `--shard I/N`: which records a run reads, and the receipt beside its output
merge    outputs of all shards -> one file
"""
