"""Emoji World: the harder world of pictures, clips and questions that pruning is measured with. README.md explains."""
