"""What training computes on: attention kernels, sharing among devices, memory."""
