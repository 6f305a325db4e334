"""Monge."""
