"""A data set before training: bad sound, copies, doubtful labels, thin classes."""
