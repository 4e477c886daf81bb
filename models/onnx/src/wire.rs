//! The wire format of Protocol Buffers over borrowed bytes. Copies nothing, allocates nothing, never goes backwards.
//!
//! Our own, and not a crate's: the files come from strangers and are mostly weights. A generated reader copies every
//! tensor, recurses into nested messages before anybody can count them, and grows a vector for each empty field; what is
//! needed of the format fits in this file.

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end within a field.
    #[error("it is cut short: a field says that {announced} bytes follow, {there} are there")]
    CutShort {
        /// Bytes that the field announces.
        announced: u64,
        /// Bytes that are left.
        there: usize,
    },
    /// A number of more than 64 bits.
    #[error("a number does not end")]
    LongNumber,
    /// A kind of field that the format does not have, or no longer.
    #[error("a field is of kind {0}, which does not occur in such files")]
    Kind(u8),
    /// A field number that the format does not have.
    #[error("a field has number {0}")]
    Number(u64),
    /// A field that is of another kind than it must be.
    #[error("field {0} is of another kind than it must be")]
    OtherKind(u32),
    /// Text that is none.
    #[error("a text is not UTF-8")]
    NotText,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) payload: Payload<'a>,
}

/// The fields of a message, one after the other. Ends after the first fault.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let key = number(&mut self.rest)?;
        let field = u32::try_from(key >> 3).map_err(|_| Fault::Number(key >> 3))?;
        if field == 0 || field > MAX_FIELD {
            return Err(Fault::Number(field.into()));
        }
        let payload = match key & 7 {
            0 => Payload::Number(number(&mut self.rest)?),
            1 => Payload::Eight(array(&mut self.rest)?),
            2 => {
                let length = number(&mut self.rest)?;
                Payload::Bytes(take(&mut self.rest, length)?)
            }
            5 => Payload::Four(array(&mut self.rest)?),
            kind => return Err(Fault::Kind(kind as u8)),
        };
        Ok(Field { number: field, payload })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(&self) -> Result<&'a [u8], Fault> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(Fault::OtherKind(self.number)),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fault::NotText)
    }

    /// A signed number: the format writes the two's complement.
    pub(crate) fn int(&self) -> Result<i64, Fault> {
        match self.payload {
            Payload::Number(number) => Ok(number.cast_signed()),
            _ => Err(Fault::OtherKind(self.number)),
        }
    }

    pub(crate) fn float(&self) -> Result<f32, Fault> {
        match self.payload {
            Payload::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(Fault::OtherKind(self.number)),
        }
    }

    /// The numbers of a repeated field, be they packed or one in each field.
    pub(crate) fn ints(&self) -> Ints<'a> {
        match self.payload {
            Payload::Number(number) => Ints::One(Some(number.cast_signed())),
            Payload::Bytes(bytes) => Ints::Packed(bytes),
            _ => Ints::Fault(Some(Fault::OtherKind(self.number))),
        }
    }

    /// The four-byte numbers of a repeated field, be they packed or one in each field.
    pub(crate) fn fours(&self) -> Result<Chunks<'a, 4>, Fault> {
        match self.payload {
            Payload::Four(bytes) => Ok(Chunks {
                one: Some(bytes),
                rest: &[],
            }),
            Payload::Bytes(bytes) => Chunks::packed(bytes),
            _ => Err(Fault::OtherKind(self.number)),
        }
    }

    /// The eight-byte numbers of a repeated field, be they packed or one in each field.
    pub(crate) fn eights(&self) -> Result<Chunks<'a, 8>, Fault> {
        match self.payload {
            Payload::Eight(bytes) => Ok(Chunks {
                one: Some(bytes),
                rest: &[],
            }),
            Payload::Bytes(bytes) => Chunks::packed(bytes),
            _ => Err(Fault::OtherKind(self.number)),
        }
    }
}

/// Numbers of a repeated field.
#[derive(Debug, Clone)]
pub(crate) enum Ints<'a> {
    One(Option<i64>),
    Packed(&'a [u8]),
    Fault(Option<Fault>),
}

impl Iterator for Ints<'_> {
    type Item = Result<i64, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(one) => one.take().map(Ok),
            Self::Packed([]) => None,
            Self::Packed(rest) => match number(rest) {
                Ok(number) => Some(Ok(number.cast_signed())),
                Err(fault) => {
                    *rest = &[];
                    Some(Err(fault))
                }
            },
            Self::Fault(fault) => fault.take().map(Err),
        }
    }
}

/// Numbers of a fixed width in a repeated field.
#[derive(Debug, Clone)]
pub(crate) struct Chunks<'a, const WIDTH: usize> {
    one: Option<[u8; WIDTH]>,
    rest: &'a [u8],
}

impl<'a, const WIDTH: usize> Chunks<'a, WIDTH> {
    fn packed(bytes: &'a [u8]) -> Result<Self, Fault> {
        match bytes.len().checked_rem(WIDTH) {
            Some(0) => Ok(Self { one: None, rest: bytes }),
            _ => Err(Fault::CutShort {
                announced: WIDTH as u64,
                there: bytes.len(),
            }),
        }
    }
}

impl<const WIDTH: usize> Iterator for Chunks<'_, WIDTH> {
    type Item = [u8; WIDTH];

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        let (chunk, rest) = self.rest.split_first_chunk::<WIDTH>()?;
        self.rest = rest;
        Some(*chunk)
    }
}

/// The largest number that a field may have.
const MAX_FIELD: u32 = (1 << 29) - 1;

/// A number in base 128, lowest digits first.
fn number(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Fault::CutShort { announced: 1, there: 0 })?;
        *rest = after;
        let digit = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && digit > 1 {
            return Err(Fault::LongNumber);
        }
        value |= digit << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::LongNumber)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Fault> {
    let cut = Fault::CutShort {
        announced: length,
        there: rest.len(),
    };
    let length = usize::try_from(length).map_err(|_| cut)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(cut)?;
    *rest = after;
    Ok(bytes)
}

fn array<const WIDTH: usize>(rest: &mut &[u8]) -> Result<[u8; WIDTH], Fault> {
    let there = rest.len();
    let (bytes, after) = rest.split_first_chunk::<WIDTH>().ok_or(Fault::CutShort {
        announced: WIDTH as u64,
        there,
    })?;
    *rest = after;
    Ok(*bytes)
}
