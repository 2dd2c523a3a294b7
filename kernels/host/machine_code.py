"""Build kernels for one GPU generation without a GPU, and read what came out: registers, spills, instructions.

Runs only where Triton's compiler can be imported, and not under `TRITON_INTERPRET=1`: interpreted functions cannot
be compiled (`resources.py` starts processes for that). The listings are made by the `cuobjdump` and `nvdisasm` that
come with Triton's wheels. `nvdisasm` takes up to a second to start and lists one file, so the code of many kernels
goes through it as one.
"""

import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from breaknet.kernels.host.targets import CompileCase

#: Instruction categories and the SASS mnemonics they hold; the first that matches counts, the rest is "other".
CATEGORIES: tuple[tuple[str, str], ...] = (
    ("fma2", r"FFMA2"),  # two FMAs at once, sm_100
    ("fma", r"FFMA"),
    ("add_mul", r"FADD|FMUL|FMNMX|FSETP|FSEL"),
    ("tensor_bf16", r"HG?MMA\S*\.BF16"),  # exact products, of operands that the kernel itself has split
    ("tensor_f16", r"HMMA\.\d+\.F32$"),  # likewise
    ("tensor", r"HMMA|HGMMA|QMMA|IMMA|UTC"),
    ("shared_load_32", r"LDS(\.U)?(\.U?[81][6]?|\.S[81][6]?)?$"),
    ("shared_load_64", r"LDS(\.U)?\.64"),
    ("shared_load_128", r"LDS(\.U)?\.128"),
    ("shared_load_matrix", r"LDSM"),
    ("shared_store", r"STS|STSM"),
    ("spill_load", r"LDL"),
    ("spill_store", r"STL"),
    ("async_copy", r"LDGSTS|UBLKCP|UTMA"),
    ("global_load", r"LDG|LD\.E|LD$"),
    ("global_store", r"STG|ST\.E|ST$"),
    ("atomic", r"ATOM|RED\b|REDG"),
    ("fence", r"MEMBAR|CCTL|ERRBAR|FENCE"),
    ("barrier", r"BAR|SYNCS|WARPSYNC|WARPGROUP|DEPBAR"),
    ("special", r"MUFU"),
    ("shuffle", r"SHFL"),
    ("convert", r"I2F|F2F|F2I|I2FP|F2FP|HADD2|I2I"),
    ("bits", r"PRMT|LOP|SHF|SGXT|BFE|BREV|FLO|POPC|PLOP"),
    ("integer", r"IADD|IMAD|LEA|VIADD|ISETP|IMNMX|IABS|VIMNMX|SEL|MOV|CS2R|S2R|UIADD|UMOV|ULEA"),
    ("branch", r"BRA|EXIT|BSSY|BSYNC|CALL|RET|NANOSLEEP|BREAK"),
)

_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?(\S+)(.*?);")
#: The size of an instruction, on every GPU since Volta.
INSTRUCTION_BYTES = 16


@dataclass(frozen=True)
class Build:
    """A compiled kernel. Registers are those of a thread; `instructions` counts the whole kernel's by category."""

    registers: int
    stack_bytes: int
    shared_bytes: int
    instructions: dict[str, int]
    ptx: str
    cubin: bytes

    @property
    def spill_instructions(self) -> int:
        """Loads and stores of local memory, which is where registers spill to."""
        return self.instructions.get("spill_load", 0) + self.instructions.get("spill_store", 0)


def build(case: CompileCase, capability: int) -> Build:
    """Compile `case` for sm_`capability`; Triton's own cache makes a second time quick.

    Raises whatever Triton's compiler or ptxas raises.
    """
    (built,) = builds([case], capability)
    if isinstance(built, Exception):
        raise built
    return built


def builds(cases: Sequence[CompileCase], capability: int) -> list[Build | Exception]:
    """The result or the exception of `build` for each case; many at once take less time."""
    compiled: list[Any] = []
    for case in cases:
        try:
            compiled.append(compile_case(case, capability))
        except Exception as error:  # returned beside the others
            compiled.append(error)
    done = [one for one in compiled if not isinstance(one, Exception)]
    mixes = iter(_mixes([one.asm["cubin"] for one in done], done[0].asm["ptx"]) if done else [])
    return [one if isinstance(one, Exception) else _build(one, next(mixes)) for one in compiled]


def compile_case(case: CompileCase, capability: int) -> Any:
    """Triton's compiled kernel, from its cache the second time. Raises whatever Triton's compiler or ptxas raises."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = case.kernel.arg_names
    missing = [name for name in names if name not in case.signature and name not in case.constexprs]
    unknown = [name for name in (*case.signature, *case.constexprs) if name not in names]
    if missing or unknown:
        raise ValueError(f"{case.name} {case.config}: arguments missing {missing}, unknown {unknown}")
    signature = {name: "constexpr" if name in case.constexprs else case.signature[name] for name in names}
    aligned = [name for name in names if signature[name].startswith("*") or name in case.divisible]
    source = ASTSource(
        case.kernel,
        signature,
        constexprs=dict(case.constexprs),
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=case.options)


def _build(compiled: Any, instructions: dict[str, int]) -> Build:
    usage = _tool("cuobjdump", "--dump-resource-usage", content=compiled.asm["cubin"])
    found = re.search(r"\bREG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump lists no registers and stack in {usage!r}")
    registers, stack = map(int, found.groups())
    asm = compiled.asm
    return Build(registers, stack, compiled.metadata.shared, instructions, asm["ptx"], asm["cubin"])


def disassembly(cubin: bytes) -> str:
    """The SASS of a cubin, jumps by label."""
    return _tool("nvdisasm", "-c", content=cubin)


def _tool(name: str, *flags: str, content: bytes) -> str:
    """The output of one of Triton's binary tools for `content`; RuntimeError with what it says where it fails."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel")
        file.write_bytes(content)
        done = subprocess.run([tool, *flags, file], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "nothing on standard error"
        raise RuntimeError(f"{name} ended with status {done.returncode}: {reason}")
    return done.stdout


def _mixes(cubins: Sequence[bytes], ptx: str) -> list[dict[str, int]]:
    """The instructions of each cubin by category; `ptx` is of any of them and names their architecture.

    Raises:
        RuntimeError: some were not listed.
    """
    architecture = re.search(r"^\.target sm_(\w+)", ptx, re.MULTILINE)
    assert architecture is not None
    codes = [_code(cubin) for cubin in cubins]
    sass = _tool("nvdisasm", "--binary", f"SM{architecture.group(1)}", content=b"".join(codes))
    found = [
        (int(one.group(1), 16), one.group(2)) for one in map(_INSTRUCTION.match, sass.splitlines()) if one
    ]
    if [address for address, _ in found] != list(range(0, sum(map(len, codes)), INSTRUCTION_BYTES)):
        raise RuntimeError("nvdisasm left out instructions")
    ends = [end // INSTRUCTION_BYTES for end in accumulate(map(len, codes), initial=0)]
    return [
        dict(sorted(Counter(category(mnemonic) for _, mnemonic in found[start:end]).items()))
        for start, end in pairwise(ends)
    ]


def _code(cubin: bytes) -> bytes:
    """The machine code in a cubin, which is an ELF file of 64 bits: the contents of its sections .text.*."""
    table, entry, count, names = struct.unpack_from("<40xQ10xHHH", cubin)
    # name, type, flags, address, offset, size
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + entry * index) for index in range(count)]
    words = sections[names][4]
    return b"".join(
        cubin[section[4] : section[4] + section[5]]
        for section in sections
        if cubin.startswith(b".text.", words + section[0])
    )


@cache
def category(mnemonic: str) -> str:
    """The category of an instruction such as "LDS.U.128"."""
    return next((name for name, pattern in CATEGORIES if re.match(pattern, mnemonic)), "other")
