"""The command line: thin faces over the pipeline, training and evaluation."""
