"""Target of the compiler: the width of its vector registers.

Shapes of kernels follow it: what is kept in registers at once, what is added up side by side. It is read
once, from Numba's own settings (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) or else the processor, by compiling an
addition and looking at its registers: a name alone ("haswell") does not tell them. Compiled kernels are
kept by the same two settings, so those of one target are never used for another.
"""

from llvmlite import binding  # type: ignore[import-untyped]
from numba.core import codegen, config

_ADDITION = """
define <16 x float> @add(<16 x float> %a, <16 x float> %b) {
  %c = fadd <16 x float> %a, %b
  ret <16 x float> %c
}
"""


def register_bytes(cpu: str, features: str) -> int:
    """Bytes of a vector register: 64, 32 or 16.

    Args:
        cpu, features: as LLVM names them: "haswell", "+avx2,-avx512f".
    """
    codegen.initialize_llvm()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2)
    assembly = machine.emit_assembly(binding.parse_assembly(_ADDITION))
    return 64 if "%zmm" in assembly else 32 if "%ymm" in assembly else 16


REGISTER_BYTES = register_bytes(
    config.CPU_NAME or binding.get_host_cpu_name(),
    codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES,
)
WIDE = REGISTER_BYTES == 64
"""32 registers of 64 bytes (AVX-512). Otherwise all of them hold a quarter of that, or an eighth."""
