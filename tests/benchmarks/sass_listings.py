"""Small SASS listings to hand-check the model of time with."""

from __future__ import annotations


def listing(*lines: str) -> str:
    """nvdisasm's form: labels as given ("L1:"), every other line an instruction; "L1" in it becomes a target."""
    text, address = [], 0
    for line in lines:
        if line.endswith(":"):
            text.append(f".{line}")
        else:
            words = line.replace(" >L", " `(.L") + ")" if " >L" in line else line
            text.append(f"        /*{address:04x}*/                   {words} ;")
            address += 16
    return "\n".join(text)


#: A loop of four independent FMAs and a branch, between one instruction before and one after.
FMAS = listing(
    "MOV R9, 0x10",
    "L_x_0:",
    "FFMA R0, R8, R8, R0",
    "FFMA R1, R8, R8, R1",
    "FFMA R2, R8, R8, R2",
    "FFMA R3, R8, R8, R3",
    "@P0 BRA >L_x_0",
    "EXIT",
)

#: Each FMA waits for the one before.
CHAIN = listing("L_x_0:", *["FFMA R0, R0, R8, R0"] * 10, "@P0 BRA >L_x_0", "EXIT")

#: Two loops side by side inside a third, and a branch to itself as padding behind the end.
NESTED = listing(
    "MOV R9, 0x10",
    "L_x_0:",
    "FADD R0, R0, R1",
    "L_x_1:",
    "FFMA R2, R2, R3, R2",
    "@P1 BRA >L_x_1",
    "FMUL R0, R0, R1",
    "L_x_2:",
    "LDG.E.STRONG.GPU R4, [R6.64]",
    "ISETP.GE.AND P2, PT, R4, R5, PT",
    "@!P2 BRA >L_x_2",
    "@P0 BRA >L_x_0",
    "EXIT",
    "L_x_3:",
    "BRA >L_x_3",
)
