"""
Numbers that authors published, for the column beside ours; none of them was measured here.

From the two tables of C3 (arXiv 2511.15244) on the English pages of Fox, their first and last rows: precision by
(latents, bucket of tokens), for C3 (Qwen2.5-1.5B and Qwen2.5-3B) and for DeepSeek-OCR as published there, and the
ratios that stand there. The paper does not define its precision in code.
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
DEEPSEEK_OCR_PUBLISHED = {(64, "1200-1300"): 0.591}
