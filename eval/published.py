"""
Numbers that authors published, for the columns beside ours; none of them was measured here.

All by (latents, bucket of tokens), on the English pages of Fox, and whole, as tables 1 and 2 of arXiv 2511.15244 print
them: the precision of C3 (Qwen2.5-1.5B and Qwen2.5-3B) at 32, 64 and 100 latents; that of DeepSeek-OCR (arXiv
2510.18234) at 64 and 100 vision tokens of a page's image; the ratio, counted tokens of each latent or vision token. The
paper does not define its precision in code. Its ratio of 1000-1100 at 32 latents, 31.0, is not twice that at 64.
"""

BUCKETS = [f"{low}-{low + 100}" for low in range(600, 1300, 100)]


def _by_bucket(rows):
    """From numbers in the order of the buckets, by latents."""
    return {(latents, bucket): row[index] for latents, row in rows.items() for index, bucket in enumerate(BUCKETS)}


C3_PUBLISHED = _by_bucket(
    {
        32: (0.997, 0.997, 0.988, 0.987, 0.988, 0.940, 0.933),
        64: (0.997, 0.999, 0.997, 0.999, 0.997, 0.986, 0.984),
        100: (0.999, 0.995, 0.997, 0.997, 0.995, 0.985, 0.975),
    }
)
DEEPSEEK_OCR_PUBLISHED = _by_bucket(
    {
        64: (0.965, 0.938, 0.838, 0.859, 0.793, 0.764, 0.591),
        100: (0.985, 0.973, 0.968, 0.968, 0.915, 0.898, 0.871),
    }
)
RATIO_PUBLISHED = _by_bucket(
    {
        32: (21.0, 23.6, 26.4, 30.2, 31.0, 35.4, 39.4),
        64: (10.5, 11.8, 13.2, 15.1, 16.5, 17.7, 19.7),
        100: (6.7, 7.5, 8.5, 9.7, 10.6, 11.3, 12.6),
    }
)
