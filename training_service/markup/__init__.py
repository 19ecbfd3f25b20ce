"""HTML and SVG from plain values: what every page is made of."""
