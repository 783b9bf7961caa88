"""Presets of published models: a configuration and a weight map each."""
