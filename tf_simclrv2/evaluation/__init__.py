"""How good a network is: metrics of classification."""
