"""
Numbers that authors published, for the column beside ours; none of them was measured here.

Precision on the English pages of Fox by (latents, bucket of tokens). C3 (Qwen2.5-1.5B and Qwen2.5-3B): the first and
last rows of the two tables of arXiv 2511.15244, with the ratios that stand there; the paper does not define its
precision in code. DeepSeek-OCR, at 64 and 100 vision tokens of a page's image: table 2 of arXiv 2510.18234, by
transcriptions of it.
"""

C3_PUBLISHED = {
    (64, "600-700"): 0.997,
    (64, "1200-1300"): 0.984,
    (32, "600-700"): 0.997,
    (32, "1200-1300"): 0.933,
}
RATIO_PUBLISHED = {
    (64, "600-700"): 10.5,
    (64, "1200-1300"): 19.7,
    (32, "600-700"): 21.0,
    (32, "1200-1300"): 39.4,
}
BUCKETS = [f"{low}-{low + 100}" for low in range(600, 1300, 100)]
DEEPSEEK_OCR_PUBLISHED = {
    (latents, bucket): precision
    for latents, precisions in {
        64: (0.965, 0.938, 0.838, 0.859, 0.793, 0.764, 0.591),
        100: (0.985, 0.973, 0.968, 0.968, 0.915, 0.898, 0.871),
    }.items()
    for bucket, precision in zip(BUCKETS, precisions, strict=True)
}
