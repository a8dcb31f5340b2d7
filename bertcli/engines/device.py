"""Which device computes, in which number format, and what a process should know about it beforehand."""

from __future__ import annotations

import ctypes
import platform

import torch

from bertcli.errors import EngineError

# By kind of device:
BATCH_TOKENS = {"cpu": 4096, "cuda": 32768, "mps": 8192}
# Lengths that share an attention call (see attention.arrange): a GPU waits on many small calls, a CPU does
# not. On MPS padded batches have given wrong numbers, so nothing is ever padded there.
ATTENTION_STEP = {"cpu": 1, "cuda": 16, "mps": 1}
# Where packing is impossible, windows are padded that differ in length by at most this part.
UNEVEN = {"cpu": 0.1, "cuda": 0.25, "mps": 0.0}
# oneDNN prepares a matrix product for every number of rows, and keeps it: rounded numbers share them.
ROUND_ROWS = {"cpu": 64, "cuda": 1, "mps": 1}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Raises EngineError for one that is not here."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or not (number or "0").isdecimal():
        raise EngineError(f"there is no device called {name}", hint="use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            found = f"torch sees {count} CUDA devices" if count else "torch sees no CUDA device"
            raise EngineError(f"there is no device {name}: {found}", hint="use --device cpu, or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EngineError("there is no device mps: torch sees no Apple GPU", hint="use --device cpu, or auto")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of weights and activations; `auto` is bfloat16 where hardware multiplies it natively.
    With `int8`, for matrix products alone, it is that of everything around them, as with `auto`.

    Raises EngineError for float16 on a CPU, which has no units for it, and for int8 on anything else.
    """
    if name == "int8" and device.type != "cpu":
        raise EngineError(f"int8 is for CPUs, and {device} is none", hint="use float16 or bfloat16 there")
    if name == "float16" and device.type == "cpu":
        raise EngineError("a CPU does not compute in float16", hint="use --dtype bfloat16 or float32")
    if name not in ("auto", "int8"):
        return DTYPES[name]
    return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next layer, and not to hand it back and fetch it page by page.

    Activations are megabytes that come and go with every layer, and the kernel clears each page it gives out.
    The numbers are M_MMAP_THRESHOLD (32 MiB is the most it takes) and M_TRIM_THRESHOLD of mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 25)
        libc.mallopt(-1, 1 << 29)
