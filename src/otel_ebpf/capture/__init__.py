"""A session over the native core: load, attach, detach, drain batches."""
