"""The conformance kit: known loads, meters around them, the truth beside their answers."""
