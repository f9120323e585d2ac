"""Says what a process is: service, executable, container, host."""
