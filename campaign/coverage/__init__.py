"""Which of DCP's source the laws reach, which they do not, and why not."""
