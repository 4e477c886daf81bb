//! The page of figures says what its record says.

use anyhow::Result;
use millrace_tests::figures::{FORMAT, Record, page};
use millrace_tests::samples::root;

#[test]
fn the_page_follows_from_its_record() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(root().join(name));
    let record: Record = serde_json::from_str(&read("docs/performance.json")?)?;
    assert_eq!(record.format, FORMAT);
    assert_eq!(
        record.ratios,
        record.ratios_of_blocks(),
        "the ratios are not those of the blocks"
    );
    let expected = page(&record, &read("tests/benches/notes.md")?);
    assert!(
        read("docs/performance.md")? == expected,
        "docs/performance.md is not what its record makes: `cargo xtask bench --page` writes it"
    );
    Ok(())
}
