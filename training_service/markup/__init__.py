"""Parts of a page as data, tables and charts, and the templates that write them as HTML and SVG."""
