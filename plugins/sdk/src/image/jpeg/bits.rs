//! The bits of a scan, up to the next marker. Knows nothing of what they mean.

use super::Damage;

/// Reads bits from the coded data of a scan. Behind their end come zeros, of which [`Bits::check`] and [`Bits::end`] know.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The byte that is read next.
    at: usize,
    /// The next bits, the first one on top.
    bits: u64,
    /// How many of them count.
    n_bits: u32,
    /// How many zeros were put behind the end.
    n_padding: u32,
}

impl<'a> Bits<'a> {
    /// From a place in a file on.
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self {
            data,
            at,
            bits: 0,
            n_bits: 0,
            n_padding: 0,
        }
    }

    /// Makes sure that there are bits for a code and what follows it: at most 32.
    #[inline(always)]
    pub(super) fn fill(&mut self) {
        if self.n_bits < 32 {
            self.fill_up();
        }
    }

    fn fill_up(&mut self) {
        if let Some(&word) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(word);
            // Whether no byte of it is ff: none of the inverted is zero.
            let inverted = !word;
            if inverted.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
                self.bits |= word >> self.n_bits;
                let n_bytes = (64 - self.n_bits) / 8;
                self.at += n_bytes as usize;
                self.n_bits += n_bytes * 8;
                return;
            }
        }
        self.fill_slowly();
    }

    /// Byte by byte, since a byte ff is followed by a zero that does not count, or is the beginning of a marker.
    fn fill_slowly(&mut self) {
        while self.n_bits <= 56 {
            let byte = match self.data.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 2;
                    0xff
                }
                None | Some([] | [0xff, ..]) => {
                    self.n_padding += 8;
                    0
                }
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.bits |= u64::from(byte) << (56 - self.n_bits);
            self.n_bits += 8;
        }
    }

    /// The next bits, without taking them: 1 to 32.
    #[inline(always)]
    pub(super) fn peek(&self, n_bits: u32) -> u32 {
        (self.bits >> (64 - n_bits)) as u32
    }

    /// Takes bits that were filled.
    #[inline(always)]
    pub(super) fn skip(&mut self, n_bits: u32) {
        self.bits <<= n_bits;
        self.n_bits -= n_bits;
    }

    /// The next bits as a number: 0 to 16 of them.
    #[inline(always)]
    pub(super) fn number(&mut self, n_bits: u32) -> i32 {
        let number = ((self.bits >> 1) >> (63 - n_bits)) as i32;
        self.skip(n_bits);
        number
    }

    /// The next bits as a signed number of that category: 0 to 16.
    #[inline(always)]
    pub(super) fn signed(&mut self, n_bits: u32) -> i32 {
        let number = self.number(n_bits);
        // Those whose first bit is 0 are the negative ones.
        if number < (1 << n_bits) >> 1 {
            number + 1 - (1 << n_bits)
        } else {
            number
        }
    }

    /// One bit, which is filled here.
    pub(super) fn bit(&mut self) -> bool {
        self.fill();
        self.number(1) == 1
    }

    /// Tells that more was read than there is.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), Damage> {
        if self.n_bits < self.n_padding {
            return Err(self.missing());
        }
        Ok(())
    }

    /// Where the data end, of which all must have been read but for the rest of a byte.
    pub(super) fn end(mut self) -> Result<usize, Damage> {
        if self.n_bits <= 56 {
            self.fill_up();
        }
        self.check()?;
        if self.n_bits - self.n_padding >= 8 {
            return Err(Damage::Left);
        }
        Ok(self.at)
    }

    /// Goes on behind a restart marker, which must be this one.
    pub(super) fn restart(&mut self, marker: u8) -> Result<(), Damage> {
        let data = self.data;
        let end = std::mem::replace(self, Self::new(data, data.len())).end()?;
        let rest = data.get(end..).unwrap_or_default();
        let n_fill = rest.iter().position(|&byte| byte != 0xff).ok_or(Damage::End)?;
        if n_fill == 0 || rest.get(n_fill) != Some(&marker) {
            return Err(Damage::Restart);
        }
        *self = Self::new(data, end + n_fill + 1);
        Ok(())
    }

    fn missing(&self) -> Damage {
        if self.at + 1 >= self.data.len() {
            Damage::End
        } else {
            Damage::Short
        }
    }
}
