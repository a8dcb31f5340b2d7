"""The types of model that transformers knows, asked of its table of names: no model's code is imported."""

from __future__ import annotations


def is_known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
