"""The core of the suite on other kernels: Debian's own, booted in qemu without KVM and without root's disk."""
