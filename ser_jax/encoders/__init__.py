"""Pretrained speech encoders, and the reading of their weights; as reusable as layers."""
