"""Stream text through a BERT on your own disk."""

__version__ = "0.4.0"
