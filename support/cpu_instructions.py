"""Which 16-bit numbers this CPU has matrix products for; it emulates the others, many times slower than float32."""

import torch

# oneDNN asks for the first on x86, for AMX as well; AVX-512 alone makes torch take bfloat16, but not fast.
BFLOAT16 = ("avx512_bf16", "bf16")
FLOAT16 = ("avx512_fp16", "fp16_arith")


def has_fast_bfloat16():
    """Whether it has instructions for products of bfloat16 (AVX512_BF16, with or without AMX, or Arm's BF16)."""
    return _has(BFLOAT16) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def has_fast_float16():
    """Whether it has instructions for products of float16."""
    return _has(FLOAT16) and torch.ops.mkldnn._is_mkldnn_fp16_supported()


def bfloat16_pays(use_cpu):
    """Whether a run should compute in bfloat16: on the accelerator, or on the CPU if that is all or `use_cpu`."""
    if use_cpu or not torch.accelerator.is_available():
        return has_fast_bfloat16()
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def _has(names):
    capabilities = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(capabilities.get(name) for name in names)
