//! The hot loop as the compiler made it: its sums stay in registers. A compiler that keeps them in memory halves the speed,
//! and no test of results would see it.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, MemorySize, Mnemonic, OpKind, Register};

use super::{BLOCKS_MAX, Kernels, Set, widest};

/// Bytes of machine code that are read at most: the loops of a set take less than half.
const BYTES: usize = 1 << 17;

#[test]
fn sums_of_avx512_tiles_stay_in_registers() {
    check(Set::Avx512);
}

#[test]
fn sums_of_avx2_tiles_stay_in_registers() {
    check(Set::Avx2);
}

fn check(set: Set) {
    let Some(kernels) = Kernels::find(set) else {
        println!("skipped: this processor has no {set:?}");
        return;
    };
    let tiles: usize = (1..=BLOCKS_MAX).map(|blocks| widest(kernels.registers, blocks)).sum();
    let start = kernels.dense as usize;
    // SAFETY: code of this program, which goes on for longer than that behind each of its functions.
    let code = unsafe { std::slice::from_raw_parts(start as *const u8, BYTES) };
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut found = 0;
    for instruction in Decoder::with_ip(64, code, start as u64, DecoderOptions::NONE) {
        instructions.push(instruction);
        let Some(body) = tile(&instructions) else { continue };
        found += 1;
        let on_stack = body.iter().find(|instruction| is_sum_on_stack(instruction));
        assert!(on_stack.is_none(), "{set:?}, loop {found}: {on_stack:?}");
        if found == tiles {
            return;
        }
    }
    assert_eq!(found, tiles, "{set:?}: loops of tiles");
}

/// The body of a tile's loop that the last instruction ends: an innermost loop that multiplies by one number for all lanes.
fn tile(instructions: &[Instruction]) -> Option<&[Instruction]> {
    let (last, before) = instructions.split_last()?;
    let is_loop = last.flow_control() == FlowControl::ConditionalBranch && last.near_branch_target() < last.ip();
    if !is_loop {
        return None;
    }
    let start = before
        .iter()
        .rposition(|instruction| instruction.ip() == last.near_branch_target())?;
    let body = before.get(start..)?;
    let innermost = body
        .iter()
        .all(|instruction| instruction.flow_control() == FlowControl::Next);
    let multiplies = body.iter().any(is_fused_multiply);
    (innermost && multiplies && body.iter().any(broadcasts) && !body.iter().any(divides)).then_some(body)
}

/// Whether it moves a whole register from or to the stack. Pointers may lie there: there are more than registers for them.
fn is_sum_on_stack(instruction: &Instruction) -> bool {
    let vector = (0..instruction.op_count())
        .filter(|operand| instruction.op_kind(*operand) == OpKind::Register)
        .any(|operand| instruction.op_register(operand).is_vector_register());
    vector && instruction.memory_base() == Register::RSP
}

fn is_fused_multiply(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Vfmadd132ps | Mnemonic::Vfmadd213ps | Mnemonic::Vfmadd231ps
    )
}

/// Activations do; tiles do not.
fn divides(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Vdivps
}

/// Whether it spreads a number of memory, and not a constant of the program, over all lanes.
fn broadcasts(instruction: &Instruction) -> bool {
    let reads = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    let spreads = instruction.mnemonic() == Mnemonic::Vbroadcastss
        || (instruction.is_broadcast() && instruction.memory_size() != MemorySize::Unknown);
    reads && spreads && instruction.memory_base() != Register::RIP
}
