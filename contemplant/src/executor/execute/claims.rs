//! The proofs that a program claims to have verified, by the digest that it commits when it ends.
//!
//! `verify_sp1_proof` verifies nothing inside a guest: it adds the key and the public values to a digest. SP1's recursion
//! compares the digest with the proofs in the input, after all shards have been proved, and fails there if they differ.
//! SP1's execution does not return the digest, so the program is executed once more and its end is watched.

use std::sync::Arc;

use sp1_core_executor::{
    CompressedMemory, CompressedPages, CycleResult, ExecutionError, Instruction, Opcode, Program,
    Register, SP1CoreOpts, SplicingVM, SupervisorMode, SyscallCode, TraceChunkRaw,
};
use sp1_core_executor_runner::MinimalExecutorRunner;

use super::input_proofs::DIGEST_WORDS;

/// Memory accesses in a part of the execution, of which the last two are watched.
const PART: u64 = 1 << 20;

/// Parts in memory at once: those two, the next, and one that is being written.
const PARTS: usize = 4;

/// An execution that may claim proofs.
pub(super) struct Claiming {
    program: Arc<Program>,
    input: Vec<Vec<u8>>,
}

impl Claiming {
    /// The execution of `program` on `input`, if it may claim proofs: the input has some, or the program has the system
    /// call.
    pub(super) fn of(program: Program, input: &[Vec<u8>], has_proofs: bool) -> Option<Self> {
        // Programs that write instructions at run time cannot be watched this way.
        let may_claim = !program.enable_untrusted_programs && (has_proofs || has_call(&program));
        may_claim.then(|| Self { program: Arc::new(program), input: input.to_vec() })
    }

    /// The digest of the claimed proofs, in the words that the program has committed; zeros claim none. `None` if it has
    /// not committed every word at its end, as SP1's library does.
    pub(super) fn digest(self) -> Result<Option<[u32; DIGEST_WORDS]>, ExecutionError> {
        let options = SP1CoreOpts::default();
        let program = Arc::clone(&self.program);
        let mut runner =
            MinimalExecutorRunner::new(program, false, Some(PART), options.memory_limit, PARTS);
        for part in &self.input {
            runner.with_input(part);
        }
        // The end of a part may separate the words.
        let (mut last_but_one, mut last) = (None, None);
        while let Some(part) = runner.try_execute_chunk()? {
            last_but_one = last.replace(part);
        }
        let mut words = [None; DIGEST_WORDS];
        for part in [last_but_one, last].iter().flatten() {
            self.watch(part, &options, &mut words)?;
        }
        let committed: Vec<u32> = words.into_iter().flatten().collect();
        Ok(committed.try_into().ok())
    }

    /// Executes a part again, instruction by instruction.
    fn watch(
        &self,
        part: &TraceChunkRaw,
        options: &SP1CoreOpts,
        words: &mut [Option<u32>; DIGEST_WORDS],
    ) -> Result<(), ExecutionError> {
        let (mut addresses, mut pages) = (CompressedMemory::new(), CompressedPages::new());
        let program = Arc::clone(&self.program);
        let mut machine = SplicingVM::<SupervisorMode>::new(
            part,
            program,
            &mut addresses,
            &mut pages,
            [0; 4],
            options.clone(),
        );
        loop {
            let core = &machine.core;
            let is_call =
                self.program.fetch(core.pc()).is_some_and(Instruction::is_ecall_instruction);
            if is_call && core.read_code() == SyscallCode::COMMIT_DEFERRED_PROOFS {
                let argument = |register: Register| core.registers()[register as usize].value;
                let index = usize::try_from(argument(Register::X10)).ok();
                if let Some(word) = index.and_then(|index| words.get_mut(index)) {
                    *word = Some(argument(Register::X11) as u32);
                }
            }
            if !matches!(machine.execute_instruction()?, CycleResult::Done(false)) {
                return Ok(());
            }
        }
    }
}

/// Whether a program loads the number of the system call into its register.
fn has_call(program: &Program) -> bool {
    program.instructions.iter().any(|instruction| {
        instruction.opcode == Opcode::ADDI
            && instruction.op_a == Register::X5 as u8
            && instruction.op_b == Register::X0 as u64
            && instruction.op_c == SyscallCode::VERIFY_SP1_PROOF as u64
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_may_claim_proofs_is_executed_again() {
        let may_claim = |elf: &[u8], has_proofs| {
            Claiming::of(Program::from(elf).unwrap(), &[], has_proofs).is_some()
        };
        assert!(may_claim(aggregation::ELF, false));
        assert!(!may_claim(fibonacci::ELF, false));
        assert!(may_claim(fibonacci::ELF, true));
    }
}
