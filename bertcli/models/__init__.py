"""Checkpoints on disk: their content, whether to trust them, where they are. No torch, no transformers.

library: a name -> a directory; list and pull. checkpoint: a directory -> configuration, limits, heads (with
weights, heads and pooling beside it). tokenizer: text -> ids (vocabulary reads its files). check: what would
make a checkpoint answer wrongly (shapes compares weights with config.json).
"""
