"""Products of matrices by tensor cores: where PTX has each number lie (ISA 8.7, 9.7.14.5.8), compared with torch's."""

import torch
from ptx_kernels import THREADS, run

WARPS = THREADS // 32

#: Four numbers of A, two of B and four of C of each thread, a register apart by 256 bytes, and what comes out.
PRODUCT = """
    mul.wide.u32 %rd9, %r0, 4; add.s64 %rd4, %rd1, %rd9; add.s64 %rd5, %rd2, %rd9; add.s64 %rd6, %rd3, %rd9;
    ld.global.b32 { %r1 }, [ %rd4 + 0 ]; ld.global.b32 { %r2 }, [ %rd4 + 256 ];
    ld.global.b32 { %r3 }, [ %rd4 + 512 ]; ld.global.b32 { %r4 }, [ %rd4 + 768 ];
    ld.global.b32 { %r5 }, [ %rd5 + 0 ]; ld.global.b32 { %r6 }, [ %rd5 + 256 ];
    ld.global.b32 { %r7 }, [ %rd6 + 0 ]; ld.global.b32 { %r8 }, [ %rd6 + 256 ];
    ld.global.b32 { %r9 }, [ %rd6 + 512 ]; ld.global.b32 { %r10 }, [ %rd6 + 768 ];
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 { %r7, %r8, %r9, %r10 }, { %r1, %r2, %r3, %r4 }, { %r5, %r6 }, { %r7, %r8, %r9, %r10 };
    st.global.b32 [ %rd6 + 0 ], { %r7 }; st.global.b32 [ %rd6 + 256 ], { %r8 };
    st.global.b32 [ %rd6 + 512 ], { %r9 }; st.global.b32 [ %rd6 + 768 ], { %r10 };
"""  # noqa: E501


def test_each_warp_multiplies_two_matrices() -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.randn(WARPS, 16, 16, generator=random).bfloat16()
    b = torch.randn(WARPS, 16, 8, generator=random).bfloat16()
    c = torch.randn(WARPS, 16, 8, generator=random)
    of_a, of_b = torch.zeros(4, THREADS, 2).bfloat16(), torch.zeros(2, THREADS, 2).bfloat16()
    sums = torch.zeros(4, THREADS)
    places = []
    for thread in range(THREADS):
        warp, group, place = thread // 32, thread % 32 // 4, thread % 4
        for i in range(8):
            row, column = group + 8 * (i // 2 % 2), 2 * place + i % 2 + 8 * (i // 4)
            of_a[i // 2, thread, i % 2] = a[warp, row, column]
        for i in range(4):
            of_b[i // 2, thread, i % 2] = b[warp, 2 * place + i % 2 + 8 * (i // 2), group]
            places.append((i, thread, warp, group + 8 * (i // 2), 2 * place + i % 2))
            sums[i, thread] = c[places[-1][2:]]
    run(PRODUCT, of_a.view(torch.int32), of_b.view(torch.int32), sums)
    exact = c.double() + a.double() @ b.double()
    found = torch.zeros(WARPS, 16, 8)
    for i, thread, *place in places:
        found[tuple(place)] = sums[i, thread]
    assert torch.equal(found, exact.float())


#: The same with two numbers of A in two registers and one register of B.
HALF_PRODUCT = PRODUCT.replace("{ %r1, %r2, %r3, %r4 }, { %r5, %r6 }", "{ %r1, %r2 }, { %r5 }").replace(
    "m16n8k16.row.col.f32.bf16.bf16", "m16n8k8.row.col.f32.f16.f16"
)
for unused in ("ld.global.b32 { %r3 }, [ %rd4 + 512 ]; ld.global.b32 { %r4 }, [ %rd4 + 768 ];",
               "ld.global.b32 { %r6 }, [ %rd5 + 256 ];"):  # fmt: skip
    HALF_PRODUCT = HALF_PRODUCT.replace(unused, "")


def test_each_warp_multiplies_matrices_of_float16() -> None:
    """Of A rows 8 apart, of B one register: 8 numbers are summed."""
    random = torch.Generator().manual_seed(1)
    a = torch.randn(WARPS, 16, 8, generator=random).half()
    b = torch.randn(WARPS, 8, 8, generator=random).half() * 2.0**-24  # some of float16's subnormal numbers
    lane = torch.arange(32)
    group, place = lane // 4, lane % 4 * 2
    of_a = torch.stack([a[:, group + 8 * i][:, lane, place + j] for i in (0, 1) for j in (0, 1)], 2)
    of_a = of_a.reshape(THREADS, 2, 2).transpose(0, 1).contiguous()
    of_b = torch.stack([b[:, place + j, group] for j in (0, 1)], 2).reshape(1, THREADS, 2).contiguous()
    sums = torch.zeros(4, THREADS)
    run(HALF_PRODUCT, of_a.view(torch.int32), of_b.view(torch.int32), sums)
    found = sums.view(2, 2, WARPS, 8, 4).permute(2, 0, 3, 4, 1).reshape(WARPS, 16, 8)
    assert torch.equal(found, (a.double() @ b.double()).float())


def test_matrices_are_read_transposed() -> None:
    """Rows of 8 numbers, at eight lanes' addresses; lane i gets those of column i / 4, row 2 (i % 4) and the next."""
    rows = torch.arange(THREADS * 8, dtype=torch.int16).view(THREADS, 8)
    out = torch.zeros(2, THREADS, 2, dtype=torch.int16)
    body = """
        shl.b32 %r1, %r0, 4; cvt.u64.u32 %rd4, %r1; add.s64 %rd5, %rd1, %rd4;
        ld.global.v4.b32 { %r2, %r3, %r4, %r5 }, [ %rd5 + 0 ]; st.shared.v4.b32 [ %r1 + 0 ], { %r2, %r3, %r4, %r5 };
        bar.sync 0;
        ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r6, %r7}, [%r1];
        shl.b32 %r8, %r0, 2; cvt.u64.u32 %rd6, %r8; add.s64 %rd7, %rd2, %rd6;
        st.global.b32 [ %rd7 + 0 ], { %r6 }; st.global.b32 [ %rd7 + 256 ], { %r7 };
    """
    run(body, rows, out)
    for thread in range(THREADS):
        first, lane = thread // 32 * 32, thread % 32
        for matrix in range(2):
            wanted = [rows[first + 8 * matrix + 2 * (lane % 4) + i, lane // 4] for i in range(2)]
            assert out[matrix, thread].tolist() == [int(one) for one in wanted]
