"""From a request to its answer: limits, decoding, the response cache, shadow traffic."""
