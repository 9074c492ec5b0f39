"""Command line, pages and API: the one place that knows all parts."""
