//! Probe programs: guests of a few instructions, assembled here, whose behaviour is known in advance.
//!
//! They show what a machine can do without a compiler for SP1's machine: store to more memory than a small `/dev/shm`
//! holds, run without an end, or end with an exit code.

/// Address of the first instruction: the lowest that SP1 accepts.
const CODE: u32 = 0x7800_0000;

/// Address of the first store of [`touching`], above the code.
const DATA: u32 = 0x7900_0000;

/// Distance between two stores. SP1 keeps twice as many bytes as the guest has, so every page of 4 KiB is stored to.
const STRIDE: i32 = 1024;

/// A program that stores to each kibibyte of `mib` MiB of its memory, and ends with exit code 0. SP1 needs twice as
/// much memory in `/dev/shm`.
///
/// # Panics
///
/// When `mib` is above 1024.
#[must_use]
pub fn touching(mib: u32) -> Vec<u8> {
    assert!(mib <= 1024, "a probe touches at most 1024 MiB");
    let (address, end) = (6, 7);
    elf(&[
        lui(address, DATA),
        lui(end, mib << 20),
        add(end, address, end),
        // The loop: store, advance, and repeat until the end.
        sd(address, address),
        addi(address, address, STRIDE),
        bltu(address, end, -8),
        addi(SYSTEM_CALL, ZERO, HALT),
        addi(ARGUMENT, ZERO, 0),
        ECALL,
    ])
}

/// A program that counts in a register without an end. It neither loads nor stores.
#[must_use]
pub fn endless() -> Vec<u8> {
    let counter = 6;
    elf(&[addi(counter, counter, 1), jal(ZERO, -4)])
}

/// A program that ends at once with `exit_code`.
#[must_use]
pub fn exiting(exit_code: u8) -> Vec<u8> {
    elf(&[addi(SYSTEM_CALL, ZERO, HALT), addi(ARGUMENT, ZERO, i32::from(exit_code)), ECALL])
}

/// The register that is always zero.
const ZERO: u32 = 0;
/// The register with the number of a system call.
const SYSTEM_CALL: u32 = 5;
/// The register with a system call's first argument.
const ARGUMENT: u32 = 10;
/// The system call that ends a program.
const HALT: i32 = 0;
/// Carries out a system call.
const ECALL: u32 = 0x73;

/// `to = value`, whose lowest 12 bits are zero.
const fn lui(to: u32, value: u32) -> u32 {
    value | to << 7 | 0x37
}

/// `to = left + right`.
const fn add(to: u32, left: u32, right: u32) -> u32 {
    right << 20 | left << 15 | to << 7 | 0x33
}

/// `to = from + number`, a number of 12 bits.
const fn addi(to: u32, from: u32, number: i32) -> u32 {
    number.cast_unsigned() << 20 | from << 15 | to << 7 | 0x13
}

/// Stores 8 bytes at the address in the register `at`.
const fn sd(value: u32, at: u32) -> u32 {
    value << 20 | at << 15 | 3 << 12 | 0x23
}

/// Jumps by `distance` if `left < right`, both unsigned.
const fn bltu(left: u32, right: u32, distance: i32) -> u32 {
    let distance = distance.cast_unsigned();
    let high = bits(distance, 12, 1) << 31 | bits(distance, 5, 6) << 25;
    let low = bits(distance, 1, 4) << 8 | bits(distance, 11, 1) << 7;
    high | right << 20 | left << 15 | 6 << 12 | low | 0x63
}

/// Jumps by `distance`, with the address after this instruction in `back`.
const fn jal(back: u32, distance: i32) -> u32 {
    let distance = distance.cast_unsigned();
    let high = bits(distance, 20, 1) << 31 | bits(distance, 1, 10) << 21;
    let low = bits(distance, 11, 1) << 20 | bits(distance, 12, 8) << 12;
    high | low | back << 7 | 0x6f
}

/// `count` bits of `value` from bit `first` on.
const fn bits(value: u32, first: u32, count: u32) -> u32 {
    value >> first & ((1 << count) - 1)
}

/// An executable of these instructions: header, one segment that is loaded, code.
fn elf(code: &[u32]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let size = 4 * code.len() as u64;
    let mut bytes = Vec::new();
    // 64 bits, little-endian, version 1.
    bytes.extend_from_slice(b"\x7fELF\x02\x01\x01");
    bytes.resize(16, 0);
    let half = |bytes: &mut Vec<u8>, number: u16| bytes.extend_from_slice(&number.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, number: u32| bytes.extend_from_slice(&number.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, number: u64| bytes.extend_from_slice(&number.to_le_bytes());
    // An executable for RISC-V, in version 1.
    half(&mut bytes, 2);
    half(&mut bytes, 243);
    word(&mut bytes, 1);
    // Entry, segments, no sections, no flags.
    long(&mut bytes, u64::from(CODE));
    long(&mut bytes, HEADER);
    long(&mut bytes, 0);
    word(&mut bytes, 0);
    // Sizes of the header and of a segment's entry, one segment, no sections.
    for number in [HEADER as u16, SEGMENT as u16, 1, 64, 0, 0] {
        half(&mut bytes, number);
    }
    // The segment: to be loaded, readable and executable.
    word(&mut bytes, 1);
    word(&mut bytes, 5);
    let address = u64::from(CODE);
    for number in [HEADER + SEGMENT, address, address, size, size, 4] {
        long(&mut bytes, number);
    }
    for instruction in code {
        word(&mut bytes, *instruction);
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use sp1_core_executor::{Opcode, Program, SP1Context};
    use sp1_core_machine::io::SP1Stdin;
    use sp1_node::{LightNode, ProverRuntime};

    use super::*;

    /// Opcode and operands of each instruction, as SP1 decodes them.
    fn decoded(elf: &[u8]) -> Vec<(Opcode, u8, u64, u64)> {
        let program = Program::from(elf).unwrap();
        assert_eq!((program.pc_start_abs, program.pc_base), (u64::from(CODE), u64::from(CODE)));
        let instructions = program.instructions.iter();
        instructions.map(|one| (one.opcode, one.op_a, one.op_b, one.op_c)).collect()
    }

    #[test]
    fn sp1_decodes_the_programs_as_they_are_meant() {
        let back = |distance: i64| distance.cast_unsigned();
        let data = u64::from(DATA);
        assert_eq!(
            decoded(&touching(96)),
            [
                (Opcode::LUI, 6, data, data),
                (Opcode::LUI, 7, 96 << 20, 96 << 20),
                (Opcode::ADD, 7, 6, 7),
                (Opcode::SD, 6, 6, 0),
                (Opcode::ADDI, 6, 6, 1024),
                (Opcode::BLTU, 6, 7, back(-8)),
                (Opcode::ADDI, 5, 0, 0),
                (Opcode::ADDI, 10, 0, 0),
                (Opcode::ECALL, 5, 10, 11),
            ]
        );
        assert_eq!(decoded(&endless()), [(Opcode::ADDI, 6, 6, 1), (Opcode::JAL, 0, back(-4), 0)]);
        assert_eq!(
            decoded(&exiting(255)),
            [(Opcode::ADDI, 5, 0, 0), (Opcode::ADDI, 10, 0, 255), (Opcode::ECALL, 5, 10, 11),]
        );
    }

    #[tokio::test]
    async fn the_programs_that_end_do_so_with_their_exit_codes() {
        let (runtime, node) = (ProverRuntime::start().unwrap(), LightNode::start().await);
        for (elf, exit_code, least_cycles) in [(touching(1), 0, 3 * 1024), (exiting(7), 7, 3)] {
            let context = SP1Context::builder().calculate_gas(true).build();
            let run = runtime.run(node.execute(Arc::new(elf), SP1Stdin::new(), context));
            let (_, _, report) = run.await.unwrap().unwrap();
            assert_eq!(report.exit_code, exit_code);
            assert!(report.total_instruction_count() >= least_cycles, "{report:?}");
        }
    }
}
