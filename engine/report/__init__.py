"""Reports of a study as files: HTML, CSV, JSON and SVG."""
