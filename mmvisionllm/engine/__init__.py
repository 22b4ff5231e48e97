"""Hooks, samplers and loops."""
