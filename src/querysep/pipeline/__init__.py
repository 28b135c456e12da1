"""Mixture + query -> target, residual and report: what most users meet."""

from querysep.pipeline.detector import Detector
from querysep.pipeline.report import ExampleFacts, MixtureFacts, QueryFacts, SeparationReport
from querysep.pipeline.separator import Separation, Separator
from querysep.pipeline.split import Split
from querysep.pipeline.split_report import SplitReport
from querysep.pipeline.split_to_files import SplitFiles
from querysep.pipeline.to_files import SeparatedFiles

__all__ = [
    "Detector",
    "ExampleFacts",
    "MixtureFacts",
    "QueryFacts",
    "SeparatedFiles",
    "Separation",
    "SeparationReport",
    "Separator",
    "Split",
    "SplitFiles",
    "SplitReport",
]
