//! Where the numbers of a result are read: along each axis a list of steps into the source.

/// What is added to the place for each index of an axis; nothing for an index whose number is not in the source.
pub(super) type Steps = Vec<Option<usize>>;

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

/// The indices of an axis in order.
pub(super) fn in_order(length: usize, stride: usize) -> Steps {
    (0..length).map(|index| index.checked_mul(stride)).collect()
}

/// The places of a source that is broadcast to `shape`; nothing where it cannot be.
pub(super) fn broadcast(source: &[usize], shape: &[usize]) -> Option<Vec<Steps>> {
    let more = shape.len().checked_sub(source.len())?;
    let strides = strides(source);
    let repeated = |length: usize| vec![Some(0); length];
    let mut axes: Vec<Steps> = shape.iter().take(more).map(|length| repeated(*length)).collect();
    for ((own, wanted), stride) in source.iter().zip(shape.iter().skip(more)).zip(strides) {
        axes.push(match own {
            1 => repeated(*wanted),
            own if own == wanted => in_order(*own, stride),
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
    let lengths: Vec<usize> = sources.first()?.iter().take(outer).map(Vec::len).collect();
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
    axes.iter().zip(index).try_fold(0_usize, |place, (axis, index)| {
        let step = axis.get(*index).copied().flatten()?;
        place.checked_add(step)
    })
}

/// Copies what `axes` say; `fill` where they say nothing.
pub(super) fn copy(axes: &[Steps], data: &[f32], fill: f32, out: &mut [f32]) -> Option<()> {
    const ONE: &[Option<usize>] = &[Some(0)];
    let last = axes.last().map_or(ONE, Vec::as_slice);
    let mut chunks = out.chunks_mut(last.len().max(1));
    rows([axes], |[place]| {
        let chunk = chunks.next()?;
        for (out, step) in chunk.iter_mut().zip(last) {
            let at = place.zip(*step).map(|(place, step)| place.saturating_add(step));
            *out = match at {
                Some(at) => *data.get(at)?,
                None => fill,
            };
        }
        Some(())
    })
}
