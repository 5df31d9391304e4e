"""The encoder, the heads on top of it, and the network that they make."""
