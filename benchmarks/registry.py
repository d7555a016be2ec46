"""The benchmarks by name, in the order in which they run; to add one, write its file with a `BENCHMARK` and list it."""

from . import compress_batch, compress_text

BENCHMARKS = {
    "compress-batch": compress_batch.BENCHMARK,
    "compress-text": compress_text.BENCHMARK,
}
