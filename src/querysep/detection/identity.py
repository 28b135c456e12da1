"""Which detector made an embedding: those of different ones cannot be compared."""

import hashlib

from querysep.detection.network import DetectorNetwork


def detector_hash(network: DetectorNetwork) -> str:
    """Tell detectors apart: 16 hexadecimal digits over the shape and the weights, wherever they are."""
    digest = hashlib.sha256(network.config.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
