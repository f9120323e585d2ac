"""Ships what was captured: OTLP over HTTP, or lines on a terminal."""
