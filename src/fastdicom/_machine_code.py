"""Finished machine code of kernels, called without Numba: a process that finds it need not import Numba (0.2 s).

Beside Numba's own cache the code of each kernel is kept as the object file that LLVM makes of it, reduced to the
function itself: it takes numbers and addresses, needs nothing of Python or of Numba, and is loaded by llvmlite alone.
That is possible where all that it calls is in the C library, which is looked up before anything is loaded (LLVM would
end the process otherwise). Everywhere else, and wherever anything is not as expected, Numba does it as ever.

The arguments of the function are those of Numba's calling convention: the address of the result, that of an exception,
and for an array its owner, its parent, size, item size, address, lengths and strides.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from fastdicom._arrays import address_of
from fastdicom._numba_cache import OPTIONS, OUTDATED_AFTER_S
from fastdicom._numba_sources import source_digest

__all__ = ["MachineCode", "load_machine_code", "may_keep_machine_code", "save_machine_code"]

_MAGIC = b"fastdicom machine code 1\n"
_SUFFIX = ".machine"
_HARMLESS = frozenset({"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER"})
_ARRAYS = (np.ndarray, np.memmap)
_SCALARS: dict[str, tuple[Any, int, int]] = {
    "intp": (ctypes.c_ssize_t, -(1 << 63), (1 << 63) - 1),
    "int64": (ctypes.c_int64, -(1 << 63), (1 << 63) - 1),
    "uint8": (ctypes.c_uint8, 0, 255),
}
_RESULTS: dict[str, Any] = {
    "void": None,
    "boolean": ctypes.c_uint8,
    "int64": ctypes.c_int64,
    "UniTuple(int64, 2)": ctypes.c_int64 * 2,
}
_PARTS = re.compile(r"\s*(const\()?(\w+)(\[[:, ]*::1\])?\)?\s*(?:,|$)")


class _Array(NamedTuple):
    dtype: np.dtype[Any]
    ndim: int
    is_written: bool


class _Number(NamedTuple):
    type: Any
    least: int
    most: int


_FLOAT = "float64"


class MachineCode:
    """The function of one signature."""

    def __init__(self, name: str, signature: str, address: int) -> None:
        result, kinds = _parse(signature)
        self.name = name
        self.kinds = kinds
        self.result = result
        types = [leaf for kind in kinds for leaf in _leaves(kind)]
        self.function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)(address)

    def leaves_of(self, args: Sequence[Any]) -> list[Any] | None:
        """The arguments as the function takes them; None where this signature is not for them."""
        if len(args) != len(self.kinds):
            return None
        leaves: list[Any] = []
        for value, kind in zip(args, self.kinds, strict=True):
            if kind.__class__ is _Array:
                if type(value) not in _ARRAYS or value.dtype != kind.dtype or value.ndim != kind.ndim:
                    return None
                flags = value.flags
                if not flags.c_contiguous or (kind.is_written and not (flags.writeable and flags.aligned)):
                    return None
                leaves += (0, 0, value.size, value.itemsize, address_of(value), *value.shape, *value.strides)
            elif kind is _FLOAT:
                if not isinstance(value, (float, int, np.floating, np.integer)):
                    return None
                leaves.append(float(value))
            elif isinstance(value, (int, np.integer, np.bool_)) and kind.least <= value <= kind.most:
                leaves.append(int(value))
            else:
                return None
        return leaves

    def call(self, leaves: list[Any]) -> Any:
        """Call the function with what `leaves_of` gave; the interpreter lock is released."""
        result = self.result() if self.result is not None else ctypes.c_int64()
        exception = ctypes.c_void_p()
        status = self.function(ctypes.addressof(result), ctypes.addressof(exception), *leaves)
        if status not in (0, -2):  # -2: there is no result. No kernel raises: what comes from a file is checked first
            raise RuntimeError(f"the compiled function {self.name} failed with status {status}")
        if self.result is None:
            return None
        if self.result is ctypes.c_uint8:
            return bool(result.value)
        return tuple(result) if isinstance(result, ctypes.Array) else result.value


@cache
def may_keep_machine_code() -> bool:
    """Whether this system and these settings are those that code is kept for: Linux, 64 bits, nothing set for Numba."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return False
    if any(name.startswith("NUMBA_") and name not in _HARMLESS for name in os.environ):
        return False
    if Path(".numba_config.yaml").exists():
        return False
    return bool(_versions())


def load_machine_code(function: FunctionType, signature: str) -> MachineCode | None:
    """The function of a kernel, if it was kept.

    Parameters
    ----------
    function : function
        The undecorated function of the kernel.
    signature : str
        Of those declared.
    """
    with suppress(OSError, ValueError, LookupError, StopIteration, RuntimeError, AttributeError):
        key = _key(function, signature)
        for folder in _folders(function.__code__.co_filename):
            with suppress(FileNotFoundError):
                data = (folder / key).read_bytes()
                return _linked(data, function.__qualname__, signature)
    return None


def save_machine_code(function: FunctionType, signature: str, compiled: Any) -> bool:
    """Keep the function that Numba has just compiled; False where it cannot be called without Numba.

    Parameters
    ----------
    compiled : numba.core.compiler.CompileResult
    """
    _parse(signature)
    if compiled.library.has_dynamic_globals:  # addresses of this process are in it
        return False
    symbol = compiled.fndesc.llvm_func_name
    data = _reduced(compiled.library, symbol)
    if data is None:
        return False
    body = symbol.encode() + b"\n" + data
    content = _MAGIC + hashlib.sha256(body).digest() + body
    key = _key(function, signature)
    for folder in _folders(function.__code__.co_filename):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{key}.{os.getpid()}.{threading.get_ident()}"
            partial.write_bytes(content)
            partial.replace(folder / key)
            _remove_outdated(folder, key)
            return True
    return False


def _parse(signature: str) -> tuple[Any, list[Any]]:
    """Result type and the kinds of the arguments of a declared signature."""
    result = next(name for name in _RESULTS if signature.startswith(name + "("))
    text, at = signature[len(result) + 1 : -1], 0
    kinds: list[Any] = []
    while at < len(text):
        found = _PARTS.match(text, at)
        if found is None:
            raise ValueError(f"{signature} has an argument that is not known here: {text[at:]}")
        const, dtype, axes = found.groups()
        if axes is not None:
            kinds.append(_Array(np.dtype(dtype), axes.count(":,") + 1, const is None))
        else:
            kinds.append(_FLOAT if dtype == _FLOAT else _Number(*_SCALARS[dtype]))
        at = found.end()
    return _RESULTS[result], kinds


def _leaves(kind: Any) -> list[Any]:
    if kind.__class__ is _Array:
        return [ctypes.c_ssize_t] * (5 + 2 * kind.ndim)
    return [ctypes.c_double if kind is _FLOAT else kind.type]


def _key(function: FunctionType, signature: str) -> str:
    """File name: the kernel, and what its code depends on."""
    made_from = f"{_MAGIC!r} {source_digest(function)} {_versions()!r} {OPTIONS}"
    source = hashlib.sha256(made_from.encode()).hexdigest()[:12]
    use = hashlib.sha256(f"{_processor()} {signature}".encode()).hexdigest()[:12]
    return f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}-{source}-{use}{_SUFFIX}"


@cache
def _versions() -> bytes:
    """What tells versions of Numba and llvmlite apart, without importing Numba; empty where that is not known."""
    found = b""
    for package in ("numba", "llvmlite"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return b""
        try:
            found += Path(spec.origin).with_name("_version.py").read_bytes()
        except OSError:
            return b""
    return found


@cache
def _processor() -> str:
    import llvmlite.binding as llvm

    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def _folders(file: str) -> Iterator[Path]:
    """Where code may be kept: as with Numba's cache, what is named, beside the source, or for the user."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield Path(named) / "fastdicom"
        return
    beside = Path(file).parent / "__pycache__"
    if beside.parent.is_dir():
        yield beside
    with suppress(RuntimeError):  # no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastdicom"


def _remove_outdated(folder: Path, key: str) -> None:
    """Delete what older sources left, after a while: environments that share a folder use their own in turn."""
    kernel, source, _ = key.rsplit("-", 2)
    for entry in os.scandir(folder):
        is_other = entry.name.startswith(f"{kernel}-") and not entry.name.startswith(f"{kernel}-{source}-")
        is_other = is_other and _SUFFIX in entry.name
        if is_other and entry.stat().st_mtime < time.time() - OUTDATED_AFTER_S:
            Path(entry.path).unlink(missing_ok=True)


def _reduced(library: Any, symbol: str) -> bytes | None:
    """An object file of one function of a compiled library; None where it calls what only Numba has."""
    import llvmlite.binding as llvm

    machine = library._codegen._tm
    module = llvm.parse_assembly(str(library._final_module))
    if all(function.name != symbol for function in module.functions):  # itself from Numba's cache: nothing is left
        return None
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"  # so that what nobody calls goes
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    data: bytes = machine.emit_object(module)
    return data if _calls_only_libraries(data) else None


def _calls_only_libraries(data: bytes) -> bool:
    """Whether the C library, or what else every process here has, defines all that an object file leaves undefined."""
    process = ctypes.CDLL(None)
    return all(hasattr(process, name) for name in _undefined(data))


def _undefined(data: bytes) -> list[str]:
    """Names that an ELF object file uses and does not define (System V ABI, Object Files: symbol table).

    Raises
    ------
    ValueError
        It is no such file.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("this is no 64 bit little endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + k * size) for k in range(count)]
    names: list[str] = []
    for _, kind, _, _, offset, nbytes, link, _, _, width in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][4]
        for at in range(offset, offset + nbytes, width):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            if name and section == 0:
                start = strings + name
                names.append(data[start : data.index(b"\0", start)].decode())
    return names


def _linked(content: bytes, name: str, signature: str) -> MachineCode | None:
    head = len(_MAGIC) + 32
    body = content[head:]
    if content[:head] != _MAGIC + hashlib.sha256(body).digest():
        return None  # damaged
    symbol, data = body.split(b"\n", 1)
    if not _calls_only_libraries(data):
        return None
    import llvmlite.binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    address = engine.get_function_address(symbol.decode())
    return MachineCode(name, signature, address) if address else None


@cache
def _engine() -> Any:
    """What holds all code that was loaded, for as long as the process lives."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), target.create_target_machine())
