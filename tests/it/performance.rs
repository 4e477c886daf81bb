//! The page of figures says what its record says.

use anyhow::Result;
use millrace_tests::figures::{FORMAT, Ratio, Record, Spread, page};
use millrace_tests::samples::root;

#[test]
fn the_page_follows_from_its_record() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(root().join(name));
    let record: Record = serde_json::from_str(&read("docs/performance.json")?)?;
    assert_eq!(record.format, FORMAT);
    let expected = record.ratios_of_blocks();
    assert!(
        is_same(&record.ratios, &expected),
        "the ratios are not those of the blocks: {expected:?}"
    );
    let expected = page(&record, &read("tests/benches/notes.md")?);
    assert!(
        read("docs/performance.md")? == expected,
        "docs/performance.md is not what its record makes: `cargo xtask bench --page` writes it"
    );
    Ok(())
}

/// A number that was read may differ from the one that was written in its last digit.
fn is_same(ratios: &[Ratio], expected: &[Ratio]) -> bool {
    let numbers = |ratio: &Ratio| {
        let Spread {
            n,
            low,
            q1,
            median,
            q3,
            high,
        } = ratio.spread;
        [ratio.pairs.as_slice(), &[n as f64, low, q1, median, q3, high]].concat()
    };
    let is_same = |a: &Ratio, b: &Ratio| {
        let (found, expected) = (numbers(a), numbers(b));
        let is_near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * b.abs();
        (&a.of, &a.to, found.len()) == (&b.of, &b.to, expected.len()) && found.iter().zip(&expected).all(is_near)
    };
    ratios.len() == expected.len() && ratios.iter().zip(expected).all(|(a, b)| is_same(a, b))
}
