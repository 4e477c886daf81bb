//! Where metadata say which way up a picture is. Knows nothing of pictures.

/// The tag of the orientation in the first directory.
const TAG: u16 = 0x112;
/// Bytes of a directory's entry.
const ENTRY_BYTES: usize = 12;

/// What XMP says, in either of the two ways to write it.
pub(super) fn in_xmp(xmp: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"tiff:Orientation";
    let behind = |at: usize| xmp.get(at + NAME.len()..).unwrap_or_default();
    let places = xmp.windows(NAME.len()).enumerate().filter(|(_, name)| *name == NAME);
    let mut digits = places.filter_map(|(at, _)| match behind(at) {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    });
    digits.next().map(u16::from)
}

/// The directories of a TIFF file, which is what Exif data are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        // As Pillow knows them, which takes the number for either order of its bytes; and a big one's where it cannot be that.
        let big_endian = match bytes.get(..4)? {
            b"MM\0*" | b"MM*\0" | b"MM\0+" => true,
            b"II*\0" | b"II\0*" => false,
            _ => return None,
        };
        Some(Self { bytes, big_endian })
    }

    fn number<const N: usize>(&self, at: usize) -> Option<u64> {
        let mut bytes: [u8; N] = self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
        if !self.big_endian {
            bytes.reverse();
        }
        Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The orientation of the first directory: nothing where there is none, and inside of that nothing where it is no
    /// whole number.
    pub(super) fn orientation(&self) -> Option<Option<u16>> {
        let directory = usize::try_from(self.number::<4>(4)?).ok()?;
        for entry in 0..self.number::<2>(directory)? as usize {
            let at = directory.checked_add(2 + entry * ENTRY_BYTES)?;
            // One that is cut off counts for nothing; of two of a tag the first counts that has a value.
            self.bytes.get(at..at.checked_add(ENTRY_BYTES)?)?;
            if self.number::<2>(at)? == u64::from(TAG)
                && let Some(value) = self.value(at)
            {
                return Some(value);
            }
        }
        None
    }

    /// The first number of an entry.
    fn value(&self, entry: usize) -> Option<Option<u16>> {
        let kind = self.number::<2>(entry + 2)?;
        let size: u64 = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 => 8,
            _ => return None,
        };
        let count = self.number::<4>(entry + 4)?;
        let at = if size.saturating_mul(count) <= 4 {
            entry + 8
        } else {
            let at = usize::try_from(self.number::<4>(entry + 8)?).ok()?;
            // Of values that are cut off nothing is taken.
            let end = usize::try_from(size.checked_mul(count)?).ok()?.checked_add(at)?;
            self.bytes.get(at..end)?;
            at
        };
        if count == 0 {
            return None;
        }
        let number = match kind {
            // Bytes and texts are no numbers.
            1 | 2 | 7 => return Some(None),
            6 => self.number::<1>(at)?,
            3 | 8 => self.number::<2>(at)?,
            4 | 9 | 13 => self.number::<4>(at)?,
            16 => self.number::<8>(at)?,
            11 => whole(f64::from(f32::from_bits(self.number::<4>(at)? as u32))),
            12 => whole(f64::from_bits(self.number::<8>(at)?)),
            _ => {
                let (number, of) = (self.number::<4>(at)?, self.number::<4>(at + 4)?);
                if of > 0 && number.is_multiple_of(of) {
                    number / of
                } else {
                    0
                }
            }
        };
        Some(u16::try_from(number).ok())
    }
}

/// A number that is whole; 0, which is no orientation, of another one.
fn whole(number: f64) -> u64 {
    if number.fract() == 0.0 { number as u64 } else { 0 }
}
