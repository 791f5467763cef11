"""From log-probabilities to text: greedily, or through k2 graphs."""
