//! How an executor is made.

use crate::error::Error;
use crate::kernels::{Kernels, Set};

/// The most threads, and the most items of a call.
const MOST: usize = 1024;

/// How an executor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that run it, the caller's among them: 1 to 1024.
    pub threads: usize,
    /// Which instructions its kernels use.
    pub instruction_set: InstructionSet,
    /// The most items of a call: 1 to 1024. Memory does not grow further from 16 on.
    pub max_batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            instruction_set: InstructionSet::Auto,
            max_batch: 1,
        }
    }
}

impl Options {
    pub(crate) fn checked(self) -> Result<Self, Error> {
        for (option, found) in [("threads", self.threads), ("max_batch", self.max_batch)] {
            if !(1..=MOST).contains(&found) {
                return Err(Error::Option {
                    option,
                    most: MOST,
                    found,
                });
            }
        }
        Ok(self)
    }
}

/// Instructions that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// The widest that the processor has.
    Auto,
    /// AVX2 and FMA: x86-64 processors since 2013.
    Avx2,
    /// AVX-512F: x86-64 servers since 2017, AMD's since 2022.
    Avx512,
    /// NEON: every 64-bit ARM processor.
    Neon,
    /// What every processor has, as the compiler makes it.
    Portable,
}

impl InstructionSet {
    /// Those that this processor has, the widest first.
    pub fn available() -> Vec<Self> {
        let all = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];
        all.into_iter().filter(|set| set.kernels().is_ok()).collect()
    }

    pub(crate) fn kernels(self) -> Result<&'static Kernels, Error> {
        let set = match self {
            Self::Auto => {
                let widest = [Set::Avx512, Set::Avx2, Set::Neon, Set::Portable];
                return widest
                    .into_iter()
                    .find_map(Kernels::find)
                    .ok_or(Error::InstructionSet(self));
            }
            Self::Avx2 => Set::Avx2,
            Self::Avx512 => Set::Avx512,
            Self::Neon => Set::Neon,
            Self::Portable => Set::Portable,
        };
        Kernels::find(set).ok_or(Error::InstructionSet(self))
    }
}
