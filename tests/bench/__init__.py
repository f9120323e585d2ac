"""`make bench`: what the agent costs. tests/bench/__main__.py has the options."""
