"""`strongroom backup`, `points`, `verify`, `browse`, `find`, `diff`, `retention`, `hold`."""

COMMANDS = ()
