//! The Python literal in a NumPy file's header: a table of three keys, and nothing that a dictionary may hold beside them.

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) descr: String,
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<u64>,
}

/// NumPy's own limit.
const AXES_MAX: usize = 64;
/// Characters of a word that an error repeats.
const TOLD_MAX: usize = 16;

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 32), }`.
pub(crate) fn read(header: &[u8]) -> Result<Header, String> {
    let mut rest = Rest(header);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.expect(b'{')?;
    while !rest.take(b'}') {
        let key = rest.text()?;
        rest.expect(b':')?;
        let is_first = match key.as_str() {
            "descr" => descr.replace(rest.descr()?).is_none(),
            "fortran_order" => fortran_order.replace(rest.boolean()?).is_none(),
            "shape" => shape.replace(rest.shape()?).is_none(),
            _ => return Err(format!("its header has a key `{}`", told(&key))),
        };
        if !is_first {
            return Err(format!("its header has the key `{key}` twice"));
        }
        if !rest.take(b',') {
            rest.expect(b'}')?;
            break;
        }
    }
    rest.end()?;
    let missing = |key: &str| format!("its header has no key `{key}`");
    Ok(Header {
        descr: descr.ok_or_else(|| missing("descr"))?,
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// What of the header is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes a character where it is the next.
    fn take(&mut self, character: u8) -> bool {
        self.skip_blanks();
        match self.0.split_first() {
            Some((first, rest)) if *first == character => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, character: u8) -> Result<(), String> {
        if self.take(character) {
            Ok(())
        } else {
            Err(self.found(&format!("`{}`", char::from(character))))
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_blanks();
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.found("its end"))
        }
    }

    /// Letters and digits.
    fn word(&mut self) -> &'a [u8] {
        self.skip_blanks();
        let end = self
            .0
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric())
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn text(&mut self) -> Result<String, String> {
        let quote = if self.take(b'\'') {
            b'\''
        } else if self.take(b'"') {
            b'"'
        } else {
            return Err(self.found("a text"));
        };
        let mut parts = self.0.splitn(2, |byte| *byte == quote);
        match (parts.next(), parts.next()) {
            (Some(text), Some(rest)) => {
                self.0 = rest;
                Ok(String::from_utf8_lossy(text).into_owned())
            }
            _ => Err("its header ends within a text".to_owned()),
        }
    }

    fn descr(&mut self) -> Result<String, String> {
        self.skip_blanks();
        if self.0.starts_with(b"[") {
            return Err("its elements are structures of several fields".to_owned());
        }
        self.text()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match self.word() {
            b"True" => Ok(true),
            b"False" => Ok(false),
            _ => Err(self.found("`True` or `False`")),
        }
    }

    fn shape(&mut self) -> Result<Vec<u64>, String> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        while !self.take(b')') {
            if shape.len() == AXES_MAX {
                return Err(format!("its shape has more than {AXES_MAX} axes"));
            }
            let digits = self.word();
            // `from_str` would take a sign; a word has none. Python 2 wrote `3L`.
            let digits = digits.strip_suffix(b"L").unwrap_or(digits);
            let axis = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            shape.push(axis.ok_or_else(|| self.found("the length of an axis"))?);
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn found(&self, expected: &str) -> String {
        let rest = String::from_utf8_lossy(self.0);
        format!("its header has `{}` in place of {expected}", told(&rest))
    }
}

fn told(text: &str) -> String {
    text.chars().take(TOLD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_numpy_writes_is_read() {
        let check = |header: &str, descr: &str, fortran_order: bool, shape: &[u64]| {
            let expected = Header {
                descr: descr.to_owned(),
                fortran_order,
                shape: shape.to_vec(),
            };
            assert_eq!(read(header.as_bytes()), Ok(expected), "{header}");
        };
        check(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 32), }   \n",
            "<f4",
            false,
            &[3, 32, 32],
        );
        check(
            "{'descr': '|u1', 'fortran_order': True, 'shape': (7,)}",
            "|u1",
            true,
            &[7],
        );
        check(
            "{\"shape\": (), \"fortran_order\":False,\"descr\":\"<f8\"}",
            "<f8",
            false,
            &[],
        );
        check(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L), }",
            "<f4",
            false,
            &[3, 2],
        );
    }

    #[test]
    fn what_it_does_not_write_is_refused() {
        let check =
            |header: &str, expected: &str| assert_eq!(read(header.as_bytes()).unwrap_err(), expected, "{header}");
        check("", "its header has `` in place of `{`");
        check("{", "its header has `` in place of a text");
        check(
            "{'descr': [('a', '<f4')]}",
            "its elements are structures of several fields",
        );
        check("{'descr': '<f4'}", "its header has no key `fortran_order`");
        check(
            "{'descr': '<f4', 'descr': '<f4'}",
            "its header has the key `descr` twice",
        );
        check("{'__import__': 1}", "its header has a key `__import__`");
        check("{'descr': '<f4", "its header ends within a text");
        check(
            "{'fortran_order': 0}",
            "its header has `}` in place of `True` or `False`",
        );
        check(
            "{'shape': (-1,)}",
            "its header has `-1,)}` in place of the length of an axis",
        );
        check(
            "{'shape': (18446744073709551616,)}",
            "its header has `,)}` in place of the length of an axis",
        );
        check("{'shape': [3]}", "its header has `[3]}` in place of `(`");
        check("{'shape': (1 2)}", "its header has `2)}` in place of `)`");
        check(
            "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
            "its header has `x` in place of its end",
        );
        check(
            &format!("{{'shape': ({})}}", "1, ".repeat(65)),
            "its shape has more than 64 axes",
        );
    }
}
