"""The benchmarks by name, in the order in which they run; to add one, write its file with a `BENCHMARK` and list it."""

from . import (
    allocator,
    cache_bytes,
    compress_batch,
    compress_text,
    data_loading,
    decode_step,
    expand_parallel,
    expand_windows,
    first_token,
    half_precision,
    import_time,
    large_model,
    load_latents,
    long_text,
    peak_memory,
    train_step,
)

BENCHMARKS = {
    "compress-batch": compress_batch.BENCHMARK,
    "compress-text": compress_text.BENCHMARK,
    "expand-windows": expand_windows.BENCHMARK,
    "expand-parallel": expand_parallel.BENCHMARK,
    "decode-step": decode_step.BENCHMARK,
    "first-token": first_token.BENCHMARK,
    "cache-bytes": cache_bytes.BENCHMARK,
    "peak-memory": peak_memory.BENCHMARK,
    "half-precision": half_precision.BENCHMARK,
    "long-text": long_text.BENCHMARK,
    "large-model": large_model.BENCHMARK,
    "load-latents": load_latents.BENCHMARK,
    "import-time": import_time.BENCHMARK,
    "data-loading": data_loading.BENCHMARK,
    "train-step": train_step.BENCHMARK,
    "allocator": allocator.BENCHMARK,
}
