"""Measurements of a network, layer by layer. They never change what they measure."""
