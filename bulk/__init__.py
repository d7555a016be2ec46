"""Whole data sets to latents, shard by shard: on one machine, or on many by Ray."""
