"""The command line: a thin face over the pipeline, training and evaluation."""
