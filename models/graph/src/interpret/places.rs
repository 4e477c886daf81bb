//! Where the numbers of a result are read: along each axis the steps into the source.

/// What is added to the place for each index of an axis.
pub(super) enum Steps {
    /// `first + index · stride`.
    Even { length: usize, first: usize, stride: isize },
    /// As listed; nothing for an index whose number is not in the source.
    Listed(Vec<Option<usize>>),
}

impl Steps {
    /// The indices of an axis in order.
    pub(super) fn in_order(length: usize, stride: usize) -> Self {
        Self::every(length, 0, 1, stride)
    }

    /// The same place again and again.
    pub(super) fn repeated(length: usize) -> Self {
        Self::every(length, 0, 0, 0)
    }

    /// The indices of an axis from `start` on, `step` by `step`.
    pub(super) fn every(length: usize, start: usize, step: isize, stride: usize) -> Self {
        Self::Even {
            length,
            first: start.saturating_mul(stride),
            stride: step.saturating_mul(isize::try_from(stride).unwrap_or(isize::MAX)),
        }
    }

    /// How many indices there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Even { length, .. } => *length,
            Self::Listed(steps) => steps.len(),
        }
    }

    /// What is added for an index.
    pub(super) fn get(&self, index: usize) -> Option<usize> {
        match self {
            Self::Even { first, stride, .. } => {
                let far = stride.checked_mul(isize::try_from(index).ok()?)?;
                first.checked_add_signed(far)
            }
            Self::Listed(steps) => steps.get(index).copied().flatten(),
        }
    }
}

/// How far it is from one index of an axis to the next, for each axis.
pub(super) fn strides(lengths: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = lengths
        .iter()
        .rev()
        .scan(1_usize, |stride, length| {
            let own = *stride;
            *stride = stride.saturating_mul(*length);
            Some(own)
        })
        .collect();
    strides.reverse();
    strides
}

/// The places of a source that is broadcast to `shape`; nothing where it cannot be.
pub(super) fn broadcast(source: &[usize], shape: &[usize]) -> Option<Vec<Steps>> {
    let more = shape.len().checked_sub(source.len())?;
    let strides = strides(source);
    let mut axes: Vec<Steps> = shape.iter().take(more).map(|length| Steps::repeated(*length)).collect();
    for ((own, wanted), stride) in source.iter().zip(shape.iter().skip(more)).zip(strides) {
        axes.push(match own {
            1 => Steps::repeated(*wanted),
            own if own == wanted => Steps::in_order(*own, stride),
            _ => return None,
        });
    }
    Some(axes)
}

/// Calls `row` with the place of each row of the last axis, in order: the place for each source, or nothing where the row
/// is outside of it. Each source has as many axes of the same lengths.
pub(super) fn rows<const SOURCES: usize>(
    sources: [&[Steps]; SOURCES],
    mut row: impl FnMut([Option<usize>; SOURCES]) -> Option<()>,
) -> Option<()> {
    let outer = sources.first()?.len().saturating_sub(1);
    let lengths: Vec<usize> = sources.first()?.iter().take(outer).map(Steps::len).collect();
    let mut index = vec![0_usize; outer];
    loop {
        row(sources.map(|source| place(source, &index)))?;
        // The last axis runs fastest.
        let mut carried = true;
        for (own, length) in index.iter_mut().zip(&lengths).rev() {
            *own += 1;
            carried = *own >= *length;
            if !carried {
                break;
            }
            *own = 0;
        }
        if carried {
            return Some(());
        }
    }
}

fn place(axes: &[Steps], index: &[usize]) -> Option<usize> {
    let steps = axes.iter().zip(index);
    steps
        .map(|(axis, index)| axis.get(*index))
        .try_fold(0_usize, |place, step| place.checked_add(step?))
}

/// Copies what `axes` say; `fill` where they say nothing.
pub(super) fn copy(axes: &[Steps], data: &[f32], fill: f32, out: &mut [f32]) -> Option<()> {
    let one = Steps::repeated(1);
    let last = axes.last().unwrap_or(&one);
    let mut chunks = out.chunks_mut(last.len().max(1));
    rows([axes], |[place]| {
        let chunk = chunks.next()?;
        match (place, last) {
            (None, _) => chunk.fill(fill),
            (Some(place), Steps::Even { first, stride: 1, .. }) => {
                let start = place.checked_add(*first)?;
                chunk.copy_from_slice(data.get(start..start.checked_add(chunk.len())?)?);
            }
            (Some(place), last) => {
                for (index, out) in chunk.iter_mut().enumerate() {
                    *out = match last.get(index) {
                        Some(step) => *data.get(place.checked_add(step)?)?,
                        None => fill,
                    };
                }
            }
        }
        Some(())
    })
}
