"""What separations and detections are measured by: figures of arrays, and the cost in time and memory."""
