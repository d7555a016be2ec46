"""
Lossless compression of the text's UTF-8 bytes, by zlib and by xz at their best: exact, at a number of bytes that stands
beside the latents' bytes, so that nobody takes fewer tokens for a smaller file. A decoder cannot read these bytes.
"""

import lzma
import zlib

from c3.eval.harness import Reconstruction


def reconstruct_with_zlib(model, examples, options):
    return [_reconstruct(example, lambda data: zlib.compress(data, 9), zlib.decompress) for example in examples]


def reconstruct_with_xz(model, examples, options):
    return [
        _reconstruct(example, lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress)
        for example in examples
    ]


def _reconstruct(example, compress, decompress):
    data = compress(example.page.text.encode())
    return Reconstruction(decompress(data).decode(), len(data), None)
