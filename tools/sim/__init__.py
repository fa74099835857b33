"""Simulated hardware: sensors of a real machine, driven by signals whose energy is known."""
