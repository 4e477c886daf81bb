//! How long it takes to copy a message into a plugin and its answer out of it: values that are copied as any other and
//! note the time. Knows no plugin.
//!
//! wasmtime copies between its own entry and exit of a call, where no other code can hold a watch. The types that its
//! derive macros use are not promised to stay: where an update takes them away, this file goes, and `plugin bench`
//! separates copying and running together.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::Result;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The time of copies into an instance since the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopwatch(Arc<AtomicU64>);

/// A message's body.
pub(super) struct TimedBody {
    pub(super) body: Arc<Vec<u8>>,
    pub(super) copying: Stopwatch,
}

/// The answer of a plugin.
pub(super) struct TimedAnswer<T> {
    pub(super) answer: T,
    pub(super) copied: Duration,
}

impl Stopwatch {
    /// The time since the last call, which resets it.
    pub(super) fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }

    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

// SAFETY: everything that wasmtime relies on is that of `[u8]`, which this hands every question to.
#[expect(unsafe_code, reason = "wasmtime copies nowhere else; see the head of this file")]
unsafe impl ComponentType for TimedBody {
    type Lower = <[u8] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;
    const MAY_REQUIRE_REALLOC: bool = <[u8] as ComponentType>::MAY_REQUIRE_REALLOC;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: as above; `dst` is what `[u8]` makes of it.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Lower for TimedBody {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let began = Instant::now();
        let lowered = self.body.as_slice().linear_lower_to_flat(cx, ty, dst);
        self.copying.add(began.elapsed());
        lowered
    }

    fn linear_lower_to_memory<U>(&self, cx: &mut LowerContext<'_, U>, ty: InterfaceType, offset: usize) -> Result<()> {
        let began = Instant::now();
        let lowered = self.body.as_slice().linear_lower_to_memory(cx, ty, offset);
        self.copying.add(began.elapsed());
        lowered
    }
}

// SAFETY: everything that wasmtime relies on is that of `T`, which this hands every question to.
#[expect(unsafe_code, reason = "as above")]
unsafe impl<T: ComponentType> ComponentType for TimedAnswer<T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;
    const MAY_REQUIRE_REALLOC: bool = T::MAY_REQUIRE_REALLOC;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl<T: Lift> Lift for TimedAnswer<T> {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        let began = Instant::now();
        let answer = T::linear_lift_from_flat(cx, ty, src)?;
        let copied = began.elapsed();
        Ok(Self { answer, copied })
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let began = Instant::now();
        let answer = T::linear_lift_from_memory(cx, ty, bytes)?;
        let copied = began.elapsed();
        Ok(Self { answer, copied })
    }
}
